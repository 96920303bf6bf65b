"""`store check`, `repair` and `gc` on folders with every kind of fault."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from harness.cli.main import main
from harness.core import record_index
from harness.core.record import PackInfo, Record
from harness.core.store import Store
from harness.training.checkpoint import Checkpoints
from tests.reports.records import cell, record

FRAME = pd.DataFrame({"id": ["a"], "prediction": [1]})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "run")
    store.prepare()
    for seed in range(3):
        made = record(70.0 + seed, cell("rte", "lora", seed))
        pack = PackInfo(keys=[made.key], slot=0, size=1, threads=1)
        store.write(made.model_copy(update={"pack": pack}), FRAME)
    store.write_run("command", "title", sorted(Store(store.out).read()[0]), [])
    return store


def first(store: Store) -> Path:
    return min(store.cells.glob("*.json"))


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_as_it_was_written_has_no_problem(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(store.out)
    assert main(["store", "check", str(store.out)]) == 0
    assert "3 records" in capsys.readouterr().out
    assert snapshot(store.out) == before


def tamper(store: Store) -> None:
    content = json.loads(first(store).read_text())
    content["scores"]["accuracy"] = 99.0
    first(store).write_text(json.dumps(content))


FAULTS: dict[str, tuple[Callable[[Store], object], str]] = {
    "score edited": (tamper, "does not match its sha256"),
    "cell twice": (lambda s: shutil.copy(first(s), s.cells / "copy.json"), "a second time"),
    "predictions changed": (lambda s: first(s).with_suffix(".parquet").write_bytes(b"x"), "absent or changed"),
    "predictions alone": (lambda s: first(s).unlink(), "predictions without a record"),
    "a profile": (lambda s: (s.profile_dir / "a.json").write_text("{"), "profiles/a.json"),
    "a leftover": (lambda s: (s.cells / ".a.json.abcdefgh").write_text(""), "left by a killed process"),
    "no run.json": (lambda s: (s.out / "run.json").unlink(), "run.json"),
    "trials": (lambda s: damage_trials(s), "tuning"),
}


def damage_trials(store: Store) -> None:
    shutil.copytree(store.out, store.out.parent / "copy")
    shutil.move(store.out.parent / "copy", store.out / "tuning")
    tamper(Store(store.out / "tuning"))


@pytest.mark.parametrize(("fault", "says"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_listed_and_repaired(
    store: Store, fault: Callable[[Store], object], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fault(store)
    names = {path.name for path in store.out.rglob("*") if path.is_file() and not path.name.startswith(".")}
    assert main(["store", "check", str(store.out)]) == 1
    assert says in capsys.readouterr().out
    assert main(["store", "repair", str(store.out)]) == 0
    # nothing but leftovers is deleted, and what is left is whole
    assert names <= {path.name for path in store.out.rglob("*")}
    if (store.out / "run.json").exists():
        assert main(["store", "check", str(store.out)]) == 0


def test_an_index_that_is_wrong_is_found_and_written_anew(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(record_index, "MIN_RECORDS", 2)
    monkeypatch.setattr(record_index, "SETTLE_NS", -(10**12))
    stamps = record_index.scan(store.cells)
    wrong = {k: r.model_copy(update={"scores": {"accuracy": 1.0}}) for k, r in store.read()[0].items()}
    index = record_index.RecordIndex(store.out / "index")
    index.find(stamps)
    index.add(wrong.values(), stamps, time.monotonic())
    index.rebuild()
    assert main(["store", "check", str(store.out)]) == 1
    assert "wrong about" in capsys.readouterr().out
    assert main(["store", "repair", str(store.out)]) == 0
    assert main(["store", "check", str(store.out)]) == 0
    assert {r.scores["accuracy"] for r in Store(store.out).read()[0].values()} == {70.0, 71.0, 72.0}


def test_gc_deletes_what_no_record_needs_and_only_with_yes(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    finished, *others = sorted(path.stem for path in store.cells.glob("*.json"))
    checkpoints = Checkpoints(store.out / "checkpoints", {}, print)
    checkpoints.folder.mkdir()
    waste = [checkpoints.path([finished]), store.cells / f"{'a' * 16}.parquet", store.cells / ".b.json.abcdefgh"]
    waste.append(store.out / "adapters" / ("b" * 16) / "adapter_model.safetensors")
    waste[-1].parent.mkdir(parents=True)
    needed = [checkpoints.path(others)]  # of a pack that has not trained as one
    for path in (*waste, *needed):
        path.write_bytes(b"12345")
    before = snapshot(store.out)
    assert main(["store", "gc", str(store.out)]) == 0
    assert "20 B would be deleted" in capsys.readouterr().out and snapshot(store.out) == before
    assert main(["store", "gc", str(store.out), "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["bytes"] == 20
    gone = {str(path.relative_to(store.out)) for path in waste}
    assert snapshot(store.out) == {name: content for name, content in before.items() if name not in gone} | {
        ".lock": b""
    }


def test_gc_keeps_the_checkpoint_of_a_cancelled_cell(store: Store) -> None:
    made = Record.model_validate_json(first(store).read_bytes())
    store.write(made.model_copy(update={"status": "cancelled", "scores": {}, "predictions": None}), None)
    checkpoint = Checkpoints(store.out / "checkpoints", {}, print).path([made.key])
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(b"1")
    assert main(["store", "gc", str(store.out), "--yes"]) == 0 and checkpoint.exists()


@pytest.mark.parametrize("command", ["repair", "gc"])
def test_nothing_is_moved_while_a_run_writes(store: Store, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    (store.cells / ".a.json.abcdefgh").write_text("being written")
    with store.lock():
        code = (
            "import sys; from harness.cli.main import main; "
            f"sys.exit(main(['store', '{command}', sys.argv[1], *sys.argv[2:]]))"
        )
        more = ["--yes"] if command == "gc" else []
        done = subprocess.run([sys.executable, "-c", code, str(store.out), *more], capture_output=True, text=True)
    assert done.returncode == 2 and "another run writes there" in done.stderr
    assert (store.cells / ".a.json.abcdefgh").exists()


@pytest.mark.parametrize("command", ["check", "repair", "gc"])
def test_a_folder_without_cells_is_a_mistake(tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["store", command, str(tmp_path)]) == 2
    assert "holds no cells" in capsys.readouterr().err
