"""Out of memory in a pack: its halves resume from the last completed step."""

from __future__ import annotations

import errno
import mmap
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.core.errors import CellFailed
from harness.core.failure import Failure
from harness.core.files import write_atomically
from harness.training import pack_training as packrun
from harness.training.checkpoint_file import save_with_digest
from harness.training.trainer import Trainer
from tests.harness.sittings import Seen, assert_near, planned, sitting, stored

TEXT = "CUDA out of memory. Tried to allocate 2.00 GiB"
ASKED = ("lora:rank=4,lora:rank=16,lorasp,lorasp:resample=4", (20, 5, 20, 12, 20, 20, 20, 9))
ALL_STEPS = sum(ASKED[1])


class Counted:
    """Counts the steps that update each member; `limit(trainer, step)` says which run out of memory, and where."""

    def __init__(self, patch: pytest.MonkeyPatch, limit: Any, where: str = "_forward") -> None:
        self.steps: Counter[int] = Counter()
        self.widths: list[int] = []
        inner, whole = getattr(Trainer, where), Trainer.train_step

        def limited(trainer: Trainer, *rest: Any) -> Any:
            if limit(trainer, trainer.optimizer.steps):
                raise torch.cuda.OutOfMemoryError(TEXT)
            return inner(trainer, *rest)

        def one_step(trainer: Trainer, step: int) -> Any:
            losses = whole(trainer, step)
            self.steps.update(trainer.members)
            self.widths.append(len(trainer.members))
            return losses

        patch.setattr(Trainer, where, limited)
        patch.setattr(Trainer, "train_step", one_step)


def raised(call: Callable[[], Any]) -> BaseException:
    with pytest.raises(BaseException) as caught:
        call()
    return caught.value


def wrapped() -> None:
    try:
        mmap.mmap(-1, 10**15)
    except OSError as error:
        raise RuntimeError("the checkpoint does not load") from error


@pytest.mark.parametrize(
    "call",
    [
        lambda: torch.empty(10**15),
        lambda: np.zeros(10**16),
        lambda: mmap.mmap(-1, 10**15),
        lambda: bytearray(2**62),
        wrapped,
    ],
)
def test_memory_that_really_runs_out_is_known(call: Callable[[], Any]) -> None:
    assert Failure.of(raised(call)).memory  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), True),
        (RuntimeError("unable to mmap 4294967296 bytes from file <x>: Cannot allocate memory (12)"), True),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:114] . DefaultCPUAllocator: not enough memory"), True),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_out_of_memory_by_its_words_and_number(error: Exception, memory: bool) -> None:
    assert Failure.of(error).memory is memory


def test_memory_that_the_system_refuses_while_a_pack_loads_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> torch.nn.Module:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(packrun, "load_backbone", refuse)
    asked = planned("lora", (5, 5))
    sitting(tmp_path, asked, Seen())
    assert [r.status for r in stored(tmp_path, asked[0])] == ["oom", "oom"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    sitting(out, planned(*ASKED), Seen())
    return out


# one cell a pack: also test_one_cell_that_never_fits_is_a_record_with_what_it_asked_for
SPLITS = [(7, 2), (0, 4), pytest.param(7, 4, marks=pytest.mark.slow), pytest.param(7, 1, marks=pytest.mark.slow)]


@pytest.mark.slow
@pytest.mark.parametrize(("at", "widest"), SPLITS)
def test_halves_go_on_and_no_step_is_repeated(
    at: int, widest: int, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(monkeypatch, lambda t, step: step >= at and len(t.members) > widest)
    asked = planned(*ASKED)
    said = sitting(tmp_path, asked, Seen())
    assert f"{TEXT}; 2 smaller packs resume from step {at}" in said
    assert counted.steps == Counter(dict(enumerate(ASKED[1]))) and max(counted.widths[at:]) <= widest
    assert_near(undisturbed, tmp_path, asked[0])
    for record, steps in zip(stored(tmp_path, asked[0]), ASKED[1], strict=True):
        split = record.extra.get("split at step")
        assert split == (None if steps <= at else at) and record.pack is not None
        assert record.pack.keys[record.pack.slot] == record.key and record.phases is not None
        assert (record.pack.size <= widest) == (split is not None)
    assert not (tmp_path / "checkpoints").exists()


def test_a_part_that_is_killed_goes_on_as_that_part(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both halves are on disk as soon as the whole has failed, the second too, which has not begun."""
    counted = Counted(monkeypatch, lambda t, step: step >= 7 and len(t.members) > 4)
    asked = planned(*ASKED)
    with pytest.raises(KeyboardInterrupt):
        sitting(tmp_path, asked, Seen(until=10))
    one, other = (torch.load(p) for p in (tmp_path / "checkpoints").iterdir())
    late = max(one, other, key=lambda content: len(content["state"]["members"]))  # has not begun
    whole = late | {"members": tuple(late["state"]["members"])}
    write_atomically(tmp_path / "checkpoints" / "0.pt", lambda stream: save_with_digest(whole, stream))
    said = sitting(tmp_path, asked, Seen())
    assert "checkpoint 0.pt: a later checkpoint of a part of its pack is resumed; ignored" in said
    assert "resumes from step 10" in said and "resumes from step 7" in said
    assert counted.steps.total() == ALL_STEPS
    assert_near(undisturbed, tmp_path, asked[0])


@pytest.mark.slow
def test_a_pack_that_cannot_be_scored_whole_is_scored_in_parts(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(monkeypatch, lambda trainer, step: False)
    whole = packrun.score_pack

    def limited(first: Any, inputs: Any, device: Any, model: Any, k: int, **rest: Any) -> Any:
        if k > 2:
            raise torch.cuda.OutOfMemoryError(TEXT)
        return whole(first, inputs, device, model, k, **rest)

    monkeypatch.setattr(packrun, "score_pack", limited)
    asked = planned(*ASKED)
    sitting(tmp_path, asked, Seen())
    assert counted.steps.total() == ALL_STEPS
    assert_near(undisturbed, tmp_path, asked[0])


def test_one_cell_that_never_fits_is_a_record_with_what_it_asked_for(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rank 16 of seed 0 is slot 2 of the pack; alone, it is tried once more from the beginning."""
    asked = planned(*ASKED)
    bad = asked[0].cells[2]

    def limit(trainer: Trainer, step: int) -> bool:
        wide = len(trainer.totals) == 1 and trainer.attached.groups[0].counts == (large,)
        return step >= 7 and (wide or (2 in trainer.members and len(trainer.totals) > 1))

    large = (stored(undisturbed, asked[0])[2].parameters or pytest.fail()).adapter_trained
    Counted(monkeypatch, limit)
    sitting(tmp_path, asked, Seen())
    records = stored(tmp_path, asked[0])
    assert [r.status for r in records] == ["oom" if r.key == bad.key else "ok" for r in records]
    assert records[2].reason is not None and "Tried to allocate 2.00 GiB" in records[2].reason
    assert "OutOfMemoryError" in (records[2].traceback or "")


def test_an_update_that_stopped_midway_is_not_gone_on_from(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its halves start from the beginning: some values are of this step, some of the last."""
    from harness.replicas.optimizer import ReplicaOptimizer

    inner = ReplicaOptimizer._update

    def limited(self: ReplicaOptimizer, index: int, group: Any, *rest: Any) -> None:
        inner(self, index, group, *rest)
        if self.steps == 7 and len(group.counts) > 4:
            raise torch.cuda.OutOfMemoryError(TEXT)

    monkeypatch.setattr(ReplicaOptimizer, "_update", limited)
    asked = planned(*ASKED)
    said = sitting(tmp_path, asked, Seen())
    assert "trying 2 smaller packs" in said
    assert_near(undisturbed, tmp_path, asked[0])


def test_a_failure_says_what_it_was_and_holds_no_frame() -> None:
    try:
        raise MemoryError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 40 bytes.\nB"
        )
    except MemoryError as error:
        made = Failure.of(error)
    assert made.memory and made.line.endswith("you tried to allocate 40 bytes.") and "line" in made.trace
    assert Failure.of(CellFailed("a reason")).line == "a reason" and not Failure.of(ValueError("x")).memory
