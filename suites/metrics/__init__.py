"""Metrics: plain functions in numpy, and the same as subclasses of evaluate.Metric."""
