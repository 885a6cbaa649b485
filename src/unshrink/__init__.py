"""unshrink makes a picture small in a way that can be undone.

    import unshrink

    r = unshrink.load("irn-x2")
    small = r.downscale("photo.jpg")          # photo_x2.png: an ordinary picture
    large = r.upscale(small)                  # photo_restored.png, from that file alone

Names are imported when they are first used, so that a command that only prints help starts at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unshrink.errors import (
        ConfigError,
        ImageError,
        MissingDependencyError,
        ModelNotFoundError,
        ProvenanceError,
        UnshrinkError,
        UnshrinkWarning,
        VideoError,
        WeightsError,
    )
    from unshrink.pictures.image import Image
    from unshrink.pictures.io import read, save, write
    from unshrink.runtime.rescaler import Rescaler, load
    from unshrink.weights import list_models

__version__ = "0.1.0"

_HOMES = {
    "pictures.image": ("Image",),
    "pictures.io": ("read", "save", "write"),
    "runtime.rescaler": ("Rescaler", "load"),
    "weights": ("list_models",),
    "errors": (
        "ConfigError",
        "ImageError",
        "MissingDependencyError",
        "ModelNotFoundError",
        "ProvenanceError",
        "UnshrinkError",
        "UnshrinkWarning",
        "VideoError",
        "WeightsError",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ConfigError",
    "Image",
    "ImageError",
    "MissingDependencyError",
    "ModelNotFoundError",
    "ProvenanceError",
    "Rescaler",
    "UnshrinkError",
    "UnshrinkWarning",
    "VideoError",
    "WeightsError",
    "list_models",
    "load",
    "read",
    "save",
    "write",
]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(import_module(f"unshrink.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'unshrink' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
