"""Suites of tasks, one a module."""

import harness  # noqa: F401  before torch: it settles how OpenMP's threads wait
