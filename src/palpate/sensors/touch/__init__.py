"""Touch: one mechanical model of a soft sensor, and the read-outs that different sensors make of it."""
