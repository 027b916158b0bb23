"""Torch modules only, no training."""
