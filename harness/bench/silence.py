"""Silence warnings of the baseline's libraries about each other; errors are raised as usual."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def silence_warnings() -> Iterator[None]:
    """Hide deprecations, missing kernels and undefined correlations. Import the libraries within the context."""
    # it logs kernels that are not installed, and casts that are intended
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"scipy\.")
        yield
