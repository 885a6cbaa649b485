"""What the processor can do."""

import os
from functools import cache
from pathlib import Path


@cache
def cpu_features() -> frozenset[str]:
    """The features of the processor as Linux lists them; nothing elsewhere."""
    return _listed("flags", "Features")


@cache
def cpu_vendor() -> str:
    """Who made the processor, as x86 and Linux name them, "GenuineIntel" or "AuthenticAMD"; nothing elsewhere."""
    return " ".join(_listed("vendor_id"))


def cpu_count() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_fast_bfloat16() -> bool:
    """Whether subnets in bfloat16 take less time than in float32, on any processor that says so; False elsewhere.

    In AMX they do, and with AVX-512 BF16 of AMD, which multiplies twice as many numbers at a time as in float32.
    Intel's does not: without AMX the shipped networks took half as long again.
    """
    return has_amx() or ("avx512_bf16" in cpu_features() and cpu_vendor() == "AuthenticAMD")


def has_amx() -> bool:
    """Whether the processor multiplies whole matrices in bfloat16."""
    return "amx_bf16" in cpu_features()


def has_kernels() -> bool:
    """Whether the processor runs what unshrink-kernels compiles, in float32 at least."""
    return {"avx2", "fma"} <= cpu_features()


def _listed(*names: str) -> frozenset[str]:
    """The words behind any of these names."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(word for line in lines if line.startswith(names) for word in line.partition(":")[2].split())
