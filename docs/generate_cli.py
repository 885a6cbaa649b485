"""Writes the help pages of the commands into docs/cli.md, between its marks; the rest of the page is written by hand.

python docs/generate_cli.py
"""

import contextlib
import io
import os
import re
from pathlib import Path

from unshrink.cli.main import main

PAGE = Path(__file__).with_name("cli.md")
WIDTH = "100"
BLOCK = re.compile(r"(<!-- help: (\w*) -->\n).*?(<!-- end -->)", re.DOTALL)


def refresh(page: str) -> str:
    """The page with every help page as it is now."""
    return BLOCK.sub(lambda match: f"{match[1]}```text\n{help_page(match[2])}```\n{match[3]}", page)


def help_page(command: str) -> str:
    """What ``unshrink COMMAND --help`` prints on a terminal of 100 columns; "" for the program itself."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = WIDTH
    try:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            main([*command.split(), "--help"])
    finally:
        del os.environ["COLUMNS"]
        if before is not None:
            os.environ["COLUMNS"] = before
    return out.getvalue()


if __name__ == "__main__":
    PAGE.write_text(refresh(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
