"""Sites and apps to which pictures are uploaded: what each does to them, as a table and as a simulator.

Names are imported when they are first used: the options of a batch need the table alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unshrink.sites.simulator import Arrived, simulate
    from unshrink.sites.table import Door, Site, find, sites

_HOME_OF = {
    "Arrived": "simulator",
    "simulate": "simulator",
    "Door": "table",
    "Site": "table",
    "find": "table",
    "sites": "table",
}

__all__ = ["Arrived", "Door", "Site", "find", "simulate", "sites"]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        value = globals()[name] = getattr(import_module(f"unshrink.sites.{_HOME_OF[name]}"), name)
        return value
    raise AttributeError(f"module 'unshrink.sites' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
