"""How touch, sound and pictures arise: gel optics, microphone, RGB-D camera. Arrays in, arrays out; no simulator, no torch."""
