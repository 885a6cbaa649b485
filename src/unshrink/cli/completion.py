"""What shtab needs to know beside the parser, of which it makes shell completion: which arguments are files."""

from argparse import ArgumentParser

FILES = (  # what arguments that are files or folders are called
    *("IN", "OUT", "FILE", "FOLDER", "FIGURE", "PAGE", "RESULTS", "SET", "CONFIG"),
    *("IN.pth", "OUT.safetensors", "FILE.safetensors"),
)
SHELLS = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}  # how each completes the name of a file


def mark_files(parser: ArgumentParser) -> None:
    """Marks the arguments of a command that are files."""
    for action in parser._actions:  # nothing public lists them
        if action.metavar in FILES:
            action.complete = SHELLS  # type: ignore[attr-defined]
