"""The LaMo policy as training, serving and clients all see it."""
