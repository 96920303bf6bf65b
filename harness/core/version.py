"""The version of the harness, as pyproject.toml states it and the installation records it."""

from __future__ import annotations

import importlib.metadata

DISTRIBUTION = "lorasp-harness"


def read_version() -> str:
    """The installed version; '0+unknown' where the source tree is used without an installation."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "0+unknown"
