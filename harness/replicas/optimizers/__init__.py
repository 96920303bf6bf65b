"""Optimizers, one per file; importing them loads no torch."""
