"""Backbones and adapters: find, load, quantize and save them."""
