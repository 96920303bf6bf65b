"""What a pack leaves behind when it is done: nothing."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.training.pack_training import PackTraining
from tests.harness.sittings import Seen, planned, sitting


@pytest.fixture
def uncollected() -> Iterator[None]:
    """As between two collections of garbage, which count objects and not what they hold on a GPU."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("recompute", ["none", "selective", "full"])
def test_a_pack_is_freed_before_the_next_is_loaded(
    recompute: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uncollected: None
) -> None:
    held: list[list[weakref.ref[torch.Tensor]]] = []
    alive: list[int] = []
    inner = PackTraining.__init__

    def watched(run: PackTraining, *args: Any, **kwargs: Any) -> None:
        alive.append(sum(tensor() is not None for pack in held for tensor in pack))
        inner(run, *args, **kwargs)
        held.append([weakref.ref(t) for t in (*run.model.parameters(), run.attached.groups[0].theta)])

    monkeypatch.setattr(PackTraining, "__init__", watched)
    sitting(tmp_path, planned("lora", (3, 3, 3), seeds="3", pack=1, recompute=(recompute,)), Seen())
    assert len(held) == 3 and all(len(pack) > 10 for pack in held)
    assert alive == [0, 0, 0]
