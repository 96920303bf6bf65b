"""Without what the rival's libraries say of each other; errors are raised as ever."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def silence_warnings() -> Iterator[None]:
    """No deprecations, no absent kernels, no scores of constants. Import the libraries within."""
    # its loggers tell of kernels that are not installed, and of casts that are meant
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"scipy\.")
        yield
