"""Benches: what a choice of the harness costs. One file each, named as its verb; commands.py has the verbs."""
