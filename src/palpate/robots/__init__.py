"""Real hands and gloves: what they must offer, and what runs between them. NumPy and SciPy only."""
