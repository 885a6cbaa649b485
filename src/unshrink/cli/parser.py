"""How the parser of arguments prints help pages, and says what is wrong."""

import argparse
from typing import NoReturn

from unshrink.errors import UsageError


class Help(argparse.RawDescriptionHelpFormatter):
    """Help pages with room for the options' names."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)
        self._action_max_length = 13  # argparse forgets that the commands' names are indented once more


class Parser(argparse.ArgumentParser):
    """A parser that says in one line what is wrong, as everything else does; argparse prints the usage before it."""

    def error(self, message: str) -> NoReturn:
        """Raises UsageError."""
        raise UsageError(f"{message} (see {self.prog} --help)")
