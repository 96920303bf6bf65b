"""Where packs are trained: one executor a file."""
