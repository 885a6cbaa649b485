"""``python -m unshrink``, which torchrun needs: the command ``unshrink``."""

from unshrink.cli.main import run

if __name__ == "__main__":
    run()
