"""Field-protocol drivers behind one contract: each has its codec, its link and its table of quality rules."""
