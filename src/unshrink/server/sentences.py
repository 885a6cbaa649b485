"""What the library says, as HTTP has it: its advice names options as Python does, in backticks."""

import re
from collections.abc import Mapping

_OPTION = re.compile(r"`([a-z_]+)`(?: [A-Z][A-Z.a-z]*)?")  # `model`, `model` FILE.safetensors
_PIXELS = "`max_pixels`"


def in_http(sentence: str, parameters: Mapping[str, bool], about_pixels: str) -> str:
    """A sentence with parameters of a request in place of options; advice that has none is left out.

    Args:
        sentence: clauses, with "; " between them.
        parameters: names of those that there are, and whether each is just true or false.
        about_pixels: what to say in place of advice to allow more pixels.
    """

    def named(option: "re.Match[str]") -> str:
        name = option[1]
        if name not in parameters:
            return option[0]
        return f"{name}=true" if parameters[name] else f"the option {name}"

    clauses = [about_pixels if _PIXELS in clause else _OPTION.sub(named, clause) for clause in sentence.split("; ")]
    return "; ".join([clauses[0], *(clause for clause in clauses[1:] if clause and not _OPTION.search(clause))])
