"""Packs that are stopped and go on: the same bits as packs that never were."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from harness.cli.main import main
from harness.core.errors import UserError
from harness.core.record import Phases
from harness.training import checkpoint_timer
from harness.training.checkpoint import PackCheckpoint
from harness.training.checkpoint_file import save_with_digest
from harness.training.checkpoint_timer import CheckpointTimer
from tests.harness.sittings import Seen, assert_same_bits, planned, sitting, stored

PACKS = {
    "lora,lorasp": (10, 3, 10, 7),
    "lora:dropout=0.1,lorasp:resample=4": (10, 10, 3, 10),
    "lorasp-wanda,lorasp-weight-column": (10, 3, 10, 7),
    "adalora:rank=2,start_rank=4": (10, 10),
    "galore:update_every=4": (10, 10),
}
"""Methods and the steps of their two seeds; the last two train alone."""


def stop(out: Path, asked: Any, at: int = 8) -> None:
    with pytest.raises(KeyboardInterrupt):
        sitting(out, asked, Seen(at))


def only_file(out: Path) -> Path:
    (path,) = (out / "checkpoints").iterdir()
    return path


@pytest.mark.parametrize("methods", PACKS)
def test_a_pack_goes_on_bit_by_bit(methods: str, tmp_path: Path) -> None:
    asked = planned(methods, PACKS[methods])
    sitting(tmp_path / "straight", asked, Seen())
    assert not (tmp_path / "straight" / "checkpoints").exists()
    stop(tmp_path / "stopped", asked, at=5)
    again = Seen()
    said = sitting(tmp_path / "stopped", asked, again)
    assert "rte: resumes from step 5" in said and again.steps[0] == 6
    assert_same_bits(tmp_path / "straight", tmp_path / "stopped", asked[0])
    marks = [r.extra.get("resumed at step") for r in stored(tmp_path / "stopped", asked[0])]
    packed = len(PACKS[methods]) > 2
    assert marks == ([None if steps == 3 else 5 for steps in PACKS[methods]] if packed else [5, None])
    assert not (tmp_path / "stopped" / "checkpoints").exists()


@pytest.mark.parametrize(("after", "resumed"), [(0, [3, 3, None, None, None]), (1, [None, None, 3, None, None])])
def test_it_is_found_and_the_other_packs_stay(after: int, resumed: list[int | None], tmp_path: Path) -> None:
    """Five cells in packs of 2, 1 and 2; what is missing beside the first would be grouped as 2 and 1."""
    asked = planned("lora", (6, 6, 6, 9, 9), seeds="5", pack=2)
    sitting(tmp_path / "straight", asked, Seen())
    first = Seen(until=None if after else 3)
    first.on_cell_end = lambda record: setattr(first, "until", 3)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        sitting(tmp_path / "stopped", asked, first)
    sitting(tmp_path / "stopped", asked, Seen())
    packs = [[r.pack.size for r in stored(tmp_path / out, asked[0]) if r.pack] for out in ("straight", "stopped")]
    assert packs == [[2, 2, 1, 2, 2]] * 2
    assert_same_bits(tmp_path / "straight", tmp_path / "stopped", asked[0])
    assert [r.extra.get("resumed at step") for r in stored(tmp_path / "stopped", asked[0])] == resumed


def test_records_that_are_stored_stay_when_their_pack_goes_on(tmp_path: Path) -> None:
    """Killed while the records of a pack are stored: its last checkpoint gives the missing ones."""
    asked = planned("lora", (20, 20))
    sitting(tmp_path / "straight", asked, Seen())
    stop(tmp_path, asked)
    held = only_file(tmp_path)
    content = held.read_bytes()
    sitting(tmp_path, asked, Seen())
    first, second = (tmp_path / "cells" / f"{c.key}.json" for c in asked[0].cells)
    second.unlink()
    before = first.read_bytes()
    held.parent.mkdir()
    held.write_bytes(content)
    assert "resumes from step 8" in sitting(tmp_path, asked, Seen())
    assert first.read_bytes() == before
    assert_same_bits(tmp_path / "straight", tmp_path, asked[0])
    held.parent.mkdir()
    held.write_bytes(content)
    sitting(tmp_path, asked, Seen())
    assert not held.exists()  # nothing of it is missing


def save(content: dict[str, Any], path: Path) -> None:
    """A checkpoint with that content and its digest."""
    with path.open("wb") as stream:
        save_with_digest(content, stream)


def broken(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def changed(**fields: Any) -> Any:
    def change(path: Path) -> None:
        content = torch.load(path, weights_only=True)
        made_by = content["made_by"] | fields.pop("made_by", {})
        save(content | {"made_by": made_by} | fields, path)

    return change


def narrowed(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    content["state"]["theta"] = [t[:, :-1] for t in content["state"]["theta"]]
    save(content, path)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was stopped after 3 of 6 steps."""
    folder = tmp_path_factory.mktemp("stopped") / "out"
    stop(folder, planned("lora", (6, 6)), at=3)
    return folder


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (broken, "damaged"),
        (lambda path: path.write_bytes(b""), "damaged"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "does not read"),
        (lambda path: torch.save(torch.load(path), path), "damaged, or written by another version of this harness"),
        (changed(format=0), "another version of this harness"),
        (changed(made_by={"torch": "1.0", "threads": 64}), "written with other values of threads, torch"),
        (changed(keys=("a", "b")), "its pack has cells that are not in this run"),
        (narrowed, "the checkpoint does not fit (RuntimeError)"),
    ],
)
def test_one_that_is_of_no_use_costs_a_line(change: Any, why: str, stopped: Path, tmp_path: Path) -> None:
    asked, out = planned("lora", (6, 6)), tmp_path / "out"
    shutil.copytree(stopped, out)
    change(only_file(out))
    again = Seen()
    said = sitting(out, asked, again)
    assert why in said and "Traceback" not in said and min(again.steps) == 1
    assert sum(why in line for line in said.splitlines()) == 1
    assert [r.status for r in stored(out, asked[0])] == ["ok", "ok"]
    assert not list(out.glob("checkpoints/*.pt"))


def test_a_pack_wider_than_asked_for_is_not_gone_on_with(tmp_path: Path) -> None:
    stop(tmp_path, planned("lora", (10, 10)), at=6)
    said = sitting(tmp_path, planned("lora", (10, 10), pack=1), Seen())
    assert "it has 2 unfinished cells, more than --pack 1; ignored" in said and "resumes" not in said


def test_adapters_of_those_that_have_left_are_kept(tmp_path: Path) -> None:
    asked = planned("lora,lorasp", (20, 5, 20, 20), save_adapters=True)
    for out, stops in (("straight", False), ("stopped", True)):
        if stops:
            stop(tmp_path / out, asked)
        assert sitting(tmp_path / out, asked, Seen()).count("rte: 4 cells, 20 steps") == 1
    for one, other in zip(*(stored(tmp_path / out, asked[0]) for out in ("straight", "stopped")), strict=True):
        assert one.adapter is not None and one.adapter == other.adapter
        configs = [in_order(tmp_path / out / one.adapter.path) for out in ("straight", "stopped")]
        for config in configs:  # a folder of links in the run's own folder
            assert config.pop("base_model_name_or_path").startswith(str(tmp_path))
        assert configs[0] == configs[1] and configs[0]["peft_type"] == "LORA"


def in_order(adapter: Path) -> dict[str, Any]:
    """peft's configuration; its lists were sets."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    return {k: sorted(v) if isinstance(v, list) else v for k, v in config.items()}


def test_short_packs_write_none_and_long_ones_spend_one_per_cent(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(checkpoint_timer.time, "monotonic", lambda: now[0])
    pace, spent = CheckpointTimer(size=0), 0.0
    wrote = []
    for second in range(1, 10_000):
        now[0] += 1
        if pace.is_due():
            with pace.time_write():
                now[0] += 3
                spent += 3
            wrote.append(second)
    assert wrote[0] == 60 and wrote[1] - wrote[0] == 300
    assert spent / now[0] <= 0.0101
    assert not large_is_due_at(now, 60) and large_is_due_at(now, 1001)


def large_is_due_at(now: list[float], seconds: float) -> bool:
    """1 GB is taken to need ten seconds before it was written once."""
    pace = CheckpointTimer(size=10**9)
    now[0] += seconds
    return pace.is_due()


def test_a_part_takes_its_share_of_the_time() -> None:
    spent = Phases(load=4, input=0, attach=8, train=40, capture=2, evaluate=6)
    whole = PackCheckpoint(("a", "b", "c", "d", "e"), (0, 1, 3, 4), 7, {}, {}, spent, {"resumed at step": 3})
    part = whole.select_members((3,))
    assert part.spent == Phases(load=1, input=0, attach=2, train=10, capture=0.5, evaluate=1.5)
    assert part.slot_keys == ["d"] and part.marks == {"resumed at step": 3, "split at step": 7}


def test_time_of_earlier_sittings_counts(tmp_path: Path) -> None:
    asked = planned("lora", (10, 10))
    stop(tmp_path, asked, at=6)
    content = torch.load(only_file(tmp_path))
    save(content | {"spent": content["spent"] | {"train": 1000.0}}, only_file(tmp_path))
    sitting(tmp_path, asked, Seen())
    assert all(1000 < r.phases.train < 1100 for r in stored(tmp_path, asked[0]) if r.phases)


@pytest.mark.parametrize("given", ["often", "nan", "-1"])
def test_the_seconds_between_two_are_a_number(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORASP_HARNESS_CHECKPOINT_SECONDS", given)
    with pytest.raises(UserError, match="allowed: a number of seconds"):
        CheckpointTimer(0)


def test_a_disk_that_takes_none_costs_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORASP_HARNESS_CHECKPOINT_SECONDS", "0")
    monkeypatch.setattr(checkpoint_timer, "MAX_TIME_SHARE", 1e9)
    (tmp_path / "checkpoints").write_text("a file in its place")
    asked = planned("lora", (10, 10))
    said = sitting(tmp_path, asked, Seen())
    assert said.count("no checkpoint: ") == 1 and [r.status for r in stored(tmp_path, asked[0])] == ["ok", "ok"]


RUN = ("--tasks", "rte", "--methods", "lora,lorasp:resample=8", "--seeds", "2", "--train-rows", "64")
RUN += ("--eval-rows", "40", "--max-steps", "40", "--epochs", "100", "--no-profile", "--threads", "1")
RUN += ("--formats", "csv", "--figures", "")
KILLED = """
import os, signal, sys
from harness.cli.main import main
from harness.replicas.optimizer import ReplicaOptimizer
from harness.training import checkpoint_timer
checkpoint_timer.MAX_TIME_SHARE = 1e9  # one after each step, however few milliseconds a step takes
whole = ReplicaOptimizer.update
def update(self):
    if self.steps == 20:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(self)
ReplicaOptimizer.update = update
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_bit_by_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed amid step 21 as a process of its own, which leaves the checkpoint of some step before."""
    words = ["run", *RUN, "--out", str(tmp_path / "killed")]
    often = os.environ | {"LORASP_HARNESS_CHECKPOINT_SECONDS": "0"}
    process = subprocess.run([sys.executable, "-c", KILLED, *words], env=often, capture_output=True, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert list(tmp_path.glob("killed/checkpoints/*.pt")) and not list(tmp_path.glob("killed/cells/*.json"))
    assert main(words) == 0
    assert "resumes from step" in capsys.readouterr().err
    assert main(["run", *RUN, "--out", str(tmp_path / "straight")]) == 0
    paths = sorted((tmp_path / "straight" / "cells").glob("*.json"))
    assert len(paths) == 4
    for path in paths:
        one, other = (json.loads(p.read_text()) for p in (path, tmp_path / "killed" / "cells" / path.name))
        assert {k: one[k] for k in ("status", "scores", "loss_curve", "steps")} == {
            k: other[k] for k in ("status", "scores", "loss_curve", "steps")
        }
        frames = [pd.read_parquet(tmp_path / out / "cells" / f"{path.stem}.parquet") for out in ("straight", "killed")]
        pd.testing.assert_frame_equal(*frames, check_exact=True)
        assert 0 < other["extra"]["resumed at step"] <= 20 and "resumed at step" not in one["extra"]
    assert not (tmp_path / "killed" / "checkpoints").exists()


def test_a_disk_that_fills_up_while_one_is_written_costs_a_line_too(tmp_path: Path) -> None:
    """In a process of its own, where no file may grow beyond 4 KiB; an inner error of torch's hides the disk's."""
    code = """
import resource, signal, sys, pathlib, torch
from harness.training.checkpoint import Checkpoints, PackCheckpoint
from harness.core.record import Phases
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
spent = Phases(load=0, input=0, attach=0, train=0, evaluate=0)
saved = PackCheckpoint(("a",), (0,), 1, {"theta": torch.ones(100_000)}, {}, spent)
Checkpoints(pathlib.Path(sys.argv[1]), {}, print).write(saved)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "all")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("no checkpoint: cannot write") == 1 and "File too large" in done.stdout
    assert list((tmp_path / "all").iterdir()) == []
