"""Where tokenised rows, predictions and checked models are kept between commands."""

from __future__ import annotations

import os
from pathlib import Path

ENVIRONMENT = "LORASP_HARNESS_CACHE"


def cache_folder() -> Path:
    """$LORASP_HARNESS_CACHE, else ~/.cache/lorasp-harness."""
    given = os.environ.get(ENVIRONMENT)
    # unlike Path.expanduser, this does not raise for ~ of an unknown user
    return Path(os.path.expanduser(given)) if given else Path.home() / ".cache" / "lorasp-harness"
