"""Weights run on pictures of any size."""
