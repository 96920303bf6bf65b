"""The folder that caches tokenised rows, memory estimates and checks of models between commands."""

from __future__ import annotations

import os
from pathlib import Path

ENVIRONMENT = "LORASP_HARNESS_CACHE"


def cache_folder() -> Path:
    """$LORASP_HARNESS_CACHE if it is set, otherwise ~/.cache/lorasp-harness."""
    given = os.environ.get(ENVIRONMENT)
    # unlike Path.expanduser, this does not raise for ~ of an unknown user
    return Path(os.path.expanduser(given)) if given else Path.home() / ".cache" / "lorasp-harness"
