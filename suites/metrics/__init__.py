"""Metrics: a file each, with a plain and a weighted form. Importing the package registers them all."""

from harness.core.registry import load_package

load_package(__name__)
