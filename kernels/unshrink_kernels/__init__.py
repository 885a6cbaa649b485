"""The convolutions of unshrink, compiled for x86 processors."""

from unshrink_kernels._kernels import Chain, arithmetics, merge, split

__all__ = ["Chain", "arithmetics", "merge", "split"]
