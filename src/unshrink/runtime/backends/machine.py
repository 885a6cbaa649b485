"""What the processor can do."""

from functools import cache
from pathlib import Path

_BFLOAT16 = {"avx512_bf16", "amx_bf16"}


@cache
def cpu_features() -> frozenset[str]:
    """The features of the processor as Linux lists them; nothing elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(word for line in lines if line.startswith(("flags", "Features")) for word in line.split()[2:])


def has_fast_bfloat16() -> bool:
    """Whether products in bfloat16 take half the time of those in float32, or less; False where nobody tells."""
    return bool(_BFLOAT16 & cpu_features())
