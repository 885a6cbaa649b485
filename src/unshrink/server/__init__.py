"""The service: ``unshrink serve``."""
