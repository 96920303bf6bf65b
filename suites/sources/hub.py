"""Splits from the Hugging Face hub through `datasets`; after a connection error only its cache is read."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

from harness.core.errors import Absent
from suites.sources.layouts import FileLayout, RecoveredSplits
from suites.sources.tables import DataTable, build_table

OFFLINE_SECONDS = 600.0
"""Seconds after a connection error without another attempt. An attempt takes 23 s to fail, with five retries."""
CONNECTION_ERRORS = frozenset(
    "ConnectError ConnectTimeout ReadTimeout LocalEntryNotFoundError OfflineModeIsEnabled".split()
)
"""Classes of httpx and huggingface_hub by name, as some do not inherit from ConnectionError."""

_unreachable_since: float | None = None


def load_splits(repository: str, configuration: str | None, hint: str) -> dict[str, Any]:
    """The splits of a hub data set by name. Raises Absent with `hint`, which says what to do without the hub."""
    global _unreachable_since
    offline = _unreachable_since is not None and time.monotonic() - _unreachable_since < OFFLINE_SECONDS
    named = (repository,) if configuration is None else (repository, configuration)
    try:
        import datasets

        with _use_cache_only() if offline else contextlib.nullcontext():
            return dict(datasets.load_dataset(*named))
    except Exception as error:
        # datasets, huggingface_hub, httpx and pyarrow each raise their own classes.
        if not offline and _is_connection_error(error):
            _unreachable_since = time.monotonic()
        first = (str(error).splitlines() or [""])[0]
        call = ", ".join(f"'{name}'" for name in named)
        raise Absent(
            f"datasets.load_dataset({call}) failed: {type(error).__name__}: {first}; without the hub, {hint}"
        ) from error


def _is_connection_error(error: BaseException | None) -> bool:
    """Whether an error, or one of its causes, means that the hub was not reached."""
    while error is not None:
        if isinstance(error, ConnectionError | TimeoutError) or type(error).__name__ in CONNECTION_ERRORS:
            return True
        error = error.__cause__ or error.__context__
    return False


@contextlib.contextmanager
def _use_cache_only() -> Iterator[None]:
    """Set both libraries as HF_HUB_OFFLINE=1 does: they read the cache and open no connection."""
    import datasets
    import huggingface_hub

    # Both read the environment variable once, at import, so that only their own constants have an effect now.
    modules: list[Any] = [getattr(datasets, "config", None), getattr(huggingface_hub, "constants", None)]
    places = [module for module in modules if hasattr(module, "HF_HUB_OFFLINE")]
    before = [module.HF_HUB_OFFLINE for module in places]
    for module in places:
        module.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for module, value in zip(places, before, strict=True):
            module.HF_HUB_OFFLINE = value


def fetch(repository: str, task: str, layout: FileLayout, wanted: Sequence[str]) -> RecoveredSplits:
    """The wanted splits of one configuration of a hub data set. Raises Absent with what to do without the hub."""
    loaded = load_splits(repository, task, f"give --data-dir DIR with {layout.folder}/ in it")
    if absent := [split for split in wanted if split not in loaded]:
        raise Absent(f"{repository}/{task}: the hub has {', '.join(loaded)}, not {', '.join(absent)}")
    return RecoveredSplits({split: _make_table(f"{repository}/{task}/{split}", loaded[split]) for split in wanted})


def _make_table(name: str, split: Any) -> DataTable:
    return build_table(name, split.column_names, [list(split[column]) for column in split.column_names])
