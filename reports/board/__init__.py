"""A static site over many runs: their list, comparisons of two of them, and cells over time."""
