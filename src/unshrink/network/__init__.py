"""Networks on tensors; what they look like is known without torch."""
