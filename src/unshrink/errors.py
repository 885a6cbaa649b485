"""What unshrink raises and warns with.

UnshrinkError                something the caller can act on; the message says what was met, what is allowed, what to do
├── ImageError               a picture cannot be read, written or used
├── VideoError               a clip cannot be read, written or used
├── ModelNotFoundError       no weights of that name or for that scale
├── WeightsError             a weights file is damaged, altered or of another shape
├── ProvenanceError          the record inside a small picture is malformed or from a newer version
├── ConfigError              a training configuration, a backend or a device is wrong
├── MissingDependencyError   an optional part is not installed
├── UsageError               what is asked for contradicts itself or what is there
└── NothingMatchedError      folders and patterns without a picture
UnshrinkWarning              the work is done, but not as faithfully as usual

Any other exception is a bug and keeps its traceback.
"""


class UnshrinkError(Exception):
    """Base of every error that unshrink raises on purpose."""


class ImageError(UnshrinkError):
    """A picture cannot be read, written or used."""


class VideoError(UnshrinkError):
    """A clip cannot be read, written or used."""


class ModelNotFoundError(UnshrinkError):
    """No installed weights have that name or serve that scale."""


class WeightsError(UnshrinkError):
    """A weights file is damaged, altered or does not fit its architecture."""


class ProvenanceError(UnshrinkError):
    """The record inside a small picture is malformed or written by a newer version."""


class ConfigError(UnshrinkError):
    """A training configuration, a backend or a device names something unknown or impossible."""


class MissingDependencyError(UnshrinkError):
    """An optional part is not installed; the message names the command that installs it."""


def not_installed(what: str, extra: str) -> MissingDependencyError:
    """The error of an optional part: what needs what, or is missing, and the extra of the package that brings it."""
    return MissingDependencyError(
        f'{what}: pip install "unshrink[{extra}]", or in a clone of it pip install ".[{extra}]"'
    )


class UsageError(UnshrinkError):
    """The arguments contradict each other or what is there; found before any work is done."""


class NothingMatchedError(UnshrinkError):
    """The folders and patterns that were given stand for no picture."""


class UnshrinkWarning(UserWarning):
    """The work is done, but not as faithfully as usual."""
