"""Quantities read out of signals by formula: loudness, collisions, stability, contact, position."""
