"""Options under a name, in a file of the user: ``--preset NAME``.

    [downscale.archive]          # unshrink downscale photos/ -r -o small/ --preset archive
    effort = 5
    format = "webp"
    skip = true

A preset stands for flags before those of the command line, which therefore win.
"""

import argparse
import os
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import platformdirs

from unshrink.errors import UsageError

COMMANDS = ("downscale", "upscale")  # those that have presets


def expanded(arguments: Sequence[str]) -> list[str]:
    """The arguments with the flags of the preset that they name, if they do.

    Raises:
        UsageError: there is no such preset, or the file is not as it should be.
    """
    command, *rest = arguments or [""]
    look = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    look.add_argument("--preset")
    name = look.parse_known_args(rest)[0].preset if command in COMMANDS else None
    return [command, *_flags(command, name), *rest] if name is not None else list(arguments)


def config_file() -> Path:
    """Where presets are: $UNSHRINK_CONFIG, or the user's folder of settings."""
    named = os.environ.get("UNSHRINK_CONFIG")
    return Path(named) if named else platformdirs.user_config_path("unshrink") / "config.toml"


def _flags(command: str, name: str) -> Iterator[str]:
    path = config_file()
    try:
        presets = tomllib.loads(path.read_text(encoding="utf-8")).get(command, {})
    except FileNotFoundError:
        raise UsageError(f"no preset {name!r}: there is no file {path}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    known = (
        sorted(key for key, value in presets.items() if isinstance(value, dict)) if isinstance(presets, dict) else []
    )
    if name not in known:
        raise UsageError(f"no preset {name!r} of {command} in {path}: there are {', '.join(known) or 'none'}")
    for option, value in presets[name].items():
        yield from _flag(f"--{option.replace('_', '-')}", value, path)


def _flag(flag: str, value: Any, path: Path) -> Iterator[str]:
    if isinstance(value, bool):
        yield from [flag] * value
    elif isinstance(value, str | int | float):
        yield f"{flag}={value}"
    else:
        raise UsageError(f"{path}: {flag[2:]} must be a text, a number, true or false, not {value!r:.60}")
