"""Files to pixels and back, and what is computed on pixels alone."""
