"""How much memory there is, what it looks like when there is none, and how it is given back."""

import ctypes
import os
import re
import sys
from pathlib import Path

_MEMINFO, _CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
_REFUSED = re.compile(r"bad[_ ]alloc|out of memory|not enough memory|(can ?not|can't|failed to) allocate", re.I)

sharers = 1  # processes that work side by side, this one among them: each may take its share of the free memory


def free_memory() -> int:
    """Bytes that this process may still take, of the machine or of its control group; 8 GiB where nothing is told."""
    found = [8 << 30]
    if match := re.search(r"MemAvailable:\s*(\d+) kB", _text(_MEMINFO)):
        found = [int(match[1]) << 10]
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    limit, used = _text(_CGROUP / "memory.max").strip(), _text(_CGROUP / "memory.current").strip()
    if limit.isdecimal() and used.isdecimal():
        found.append(int(limit) - int(used))
    return max(min(found), 0) // sharers


def trim() -> None:
    """Gives freed memory back to the system, where the C library does not do so by itself (glibc)."""
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)


def is_out_of_memory(error: Exception) -> bool:
    """Whether that is what numpy or a runtime, each with its own type and words, means."""
    return isinstance(error, MemoryError) or bool(_REFUSED.search(str(error)))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
