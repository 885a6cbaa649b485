"""What configurations of networks have in common."""

from typing import ClassVar, Protocol

from unshrink.errors import ConfigError

LATENTS = ("zero", "gaussian")


class NetworkConfig(Protocol):
    """The shape of one network: a frozen dataclass of numbers, words and tuples of them, every field with a default.

    Attributes:
        architecture: its name in `architectures.ARCHITECTURES`.
    """

    architecture: ClassVar[str]

    @property
    def scale(self) -> int:
        """How many times smaller the small picture is, along each side."""
        ...

    @property
    def latent(self) -> str:
        """How z is chosen to restore, one of `LATENTS`."""
        ...


def refuse(config: NetworkConfig, **fields: tuple[bool, str]) -> None:
    """Raises ConfigError for the first field that is not valid: each is whether it is, and what is allowed."""
    for name, (valid, rule) in fields.items():
        if not valid:
            raise ConfigError(f"model.{name} is {getattr(config, name)!r:.100}: {rule}")
