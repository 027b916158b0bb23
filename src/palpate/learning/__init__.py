"""One training loop, losses, features, checkpoints."""
