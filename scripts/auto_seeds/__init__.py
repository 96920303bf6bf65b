"""Simulated studies that check the statistics of `--seeds auto`."""
