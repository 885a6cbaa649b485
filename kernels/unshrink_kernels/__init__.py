"""The convolutions of unshrink, compiled for processors with AVX-512 BF16."""

from unshrink_kernels._kernels import Chain, arithmetics, merge, split

__all__ = ["Chain", "arithmetics", "merge", "split"]
