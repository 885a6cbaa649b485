"""The pictures of a folder or bucket, on all machines of a Ray cluster: see `unshrink.batch.cluster`."""

from unshrink.batch.cluster import downscale, upscale

__all__ = ["downscale", "upscale"]
