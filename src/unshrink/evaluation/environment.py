"""Where figures were measured: libraries, machine, commit, memory."""

import importlib.metadata
import os
import platform
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import unshrink
from unshrink import __version__


def environment() -> dict[str, Any]:
    """What the figures may depend on besides method and pictures."""
    libraries = ("numpy", "pillow", "pyvips", "pyvips-binary")
    return {
        "unshrink": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "libraries": {name: importlib.metadata.version(name) for name in libraries},
        "machine": machine(),
    }


def machine() -> dict[str, Any]:
    """What seconds depend on; the load is the mean number of busy cores, this process among them, of 15 minutes."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[2], 1) if hasattr(os, "getloadavg") else None,
    }


def commit() -> str | None:
    """The commit of this package, with a "+" if its files differ from it; None where it is not in a git repository."""
    folder = Path(unshrink.__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # an environment may lie in somebody's repository
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _cpu() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(": ")[2]
    return platform.processor()


def forget_peak_memory() -> None:
    """Begins a new measurement of `peak_megabytes`, where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_megabytes() -> int | None:
    """The most memory that this process held since `forget_peak_memory`, in MB; None where the system does not say."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) * 1024 / 1e6)
    return None
