"""Choosing actions with any outcome model."""
