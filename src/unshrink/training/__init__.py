"""Training: configuration, data, losses, loop."""
