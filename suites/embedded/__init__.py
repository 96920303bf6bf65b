"""Offline quick preset: a generated GLUE-shaped data set and a tiny encoder pretrained on the same world."""
