"""Folders of studies and of plain runs, read as what the claims are judged by."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from harness.cli.main import main
from harness.core.errors import UserError
from harness.core.store import Store
from studies.collected import collect_contents, load_runs_of_study, select_records
from studies.stored import FILE
from studies.study import load_study
from tests.reports.records import cell, grid_of, profile, record, store_of

NOISE = (0.3, -0.2, 0.1, -0.3, 0.1)
TASKS = ("cola", "rte")


def store(root: Path, name: str, kind: str, *, folder: str, preset: str = "small", **fields: Any) -> Path:
    content = {"study": name, "preset": preset, "stand_in": False, "kind": kind, "sentence": f"{name}."}
    path = root / folder / FILE
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content | {"parts": {}, "evidence": [], "notes": []} | fields))
    return path


def plain(folder: Path, **gaps: float) -> Path:
    """A run of lora and of methods that lie so many points above it, two tasks, five seeds."""
    scores: dict[tuple[str, str], list[float | None]] = {}
    for task in TASKS:
        for place, (method, gap) in enumerate({"lora": 0.0, **gaps}.items()):
            scores[task, method] = [80.0 + gap + (place + 1) * n for n in NOISE]
    steps = [0.1 + n / 1000 for n in range(10)]
    profiles = [
        profile(
            m, seconds=[s * f for s in steps], peak_kind="cuda allocated", peak_bytes=100 * 2**20, train_state=state
        )
        for m, f, state in (
            ("lora", 1.0, {"weights": 0, "gradients": 2**20, "optimizer": 2**21}),
            ("lorasp", 2.0, {"weights": 0, "gradients": 2**19, "optimizer": 2**20}),
        )
    ]
    return store_of(folder, grid_of(scores, TASKS), profiles)


def test_a_plain_run_is_judged_by_the_rules_that_its_cells_allow(tmp_path: Path) -> None:
    found = collect_contents([plain(tmp_path, lorasp=0.0, full=10.0)], named=True)
    assert set(found) == {"parity", "memory"}
    (parity,), (memory,) = found["parity"], found["memory"]
    assert parity["margin"] == load_study("parity").margin and not parity["stand_in"]
    assert {n: p["kind"] for n, p in parity["parts"].items()} == {
        "lorasp against full": "contradicted",
        "lorasp against lora": "confirmed",
    }
    assert {n: p["kind"] for n, p in memory["parts"].items()} == {
        "half frozen": "contradicted",
        "speed": "contradicted",
    }
    assert "1.50 MiB of 100.00 MiB" in memory["parts"]["half frozen"]["sentence"]
    assert "0.50\N{MULTIPLICATION SIGN} as fast" in memory["parts"]["speed"]["sentence"]
    assert memory["lacks"]


def test_the_margin_that_the_run_named_counts(tmp_path: Path) -> None:
    folder = plain(tmp_path, lorasp=-3.0, full=0.0)
    asked = Store(folder).read_run()
    assert collect_contents([folder], named=True)["parity"][0]["kind"] == "contradicted"
    Store(folder).write_run(asked["command"], asked["title"], asked["order"], [], 5.0, late=True)
    (parity,) = collect_contents([folder], named=True)["parity"]
    assert (parity["kind"], parity["margin"], parity["margin_late"]) == ("confirmed", 5.0, True)


def test_only_the_methods_of_a_study_are_asked() -> None:
    labels = {"lorasp": {}, "row": {"select": "row"}, "quarter": {"ratio": 0.25}}
    made = [record(1.0, cell("rte", "lorasp", options=o)) for o in labels.values()] + [record(1.0, cell("rte", "lora"))]
    assert [r.cell.label for r in select_records(load_study("strategies"), made, "glue")] == [
        "lorasp",
        "lorasp:select=row",
    ]
    assert [r.cell.label for r in select_records(load_study("ratio"), made, "glue")] == ["lorasp", "lorasp:ratio=0.25"]
    levels = [record(1.0, cell("rte", "lorasp", quantize=q)) for q in ("nf4", "none")]
    assert [r.cell.quantize for r in select_records(load_study("precision"), levels, "glue")] == ["none", "nf4"]
    assert (
        select_records(load_study("parity"), levels[:1], "glue")
        == []
        == select_records(load_study("parity"), made, "xnli")
    )


def test_a_run_of_other_protocols_is_no_evidence(tmp_path: Path) -> None:
    made = [
        record(80.0 + n, cell("rte", method, seed, protocol=rate), ("rte",))
        for method, rate in (("full", {}), ("lorasp", {"name": "paper"}))
        for seed, n in enumerate(NOISE)
    ]
    assert "parity" not in collect_contents([store_of(tmp_path, made)], named=True)


def test_the_newest_of_a_preset_counts_and_what_does_not_read_is_left_out(tmp_path: Path) -> None:
    old = store(tmp_path, "parity", "confirmed", folder="b")
    store(tmp_path, "parity", "contradicted", folder="a")
    store(tmp_path, "parity", "undecided", folder="d", preset="paper")
    os.utime(old, (1, 1))
    for name, text in (("c", "{"), ("e", "[]"), ("f", '{"study": "parity"}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / FILE).write_text(text)
    assert [one["kind"] for one in collect_contents([tmp_path], named=True)["parity"]] == ["contradicted", "undecided"]


def test_a_study_counts_once_for_each_backbone(tmp_path: Path) -> None:
    """Another backbone is other evidence; without a note of the backbones, all of a preset are one."""
    for folder, kind, model in (("a", "confirmed", "one"), ("b", "undecided", "two"), ("c", "contradicted", "two")):
        path = store(tmp_path, "parity", kind, folder=folder, models=[model])
        os.utime(path, (ord(folder), ord(folder)))
    kinds = [one["kind"] for one in collect_contents([tmp_path], named=True)["parity"]]
    assert kinds == ["confirmed", "contradicted"]


@pytest.mark.parametrize("models", [5, [["one"]], "one"])
def test_backbones_that_are_no_texts_are_named(tmp_path: Path, models: object) -> None:
    folder = store(tmp_path, "parity", "confirmed", folder="a", models=models).parent
    with pytest.raises(UserError, match="models are a list of texts"):
        collect_contents([folder], named=True)


def test_several_roots_add_up(tmp_path: Path) -> None:
    one, two = (store(tmp_path, "parity", kind, folder=kind).parent for kind in ("confirmed", "undecided"))
    run = plain(tmp_path / "run", lorasp=0.0, full=0.0)
    assert len(collect_contents([one, two, run], named=True)["parity"]) == 3
    assert len(collect_contents([one, run, run, one], named=True)["parity"]) == 2
    assert len(collect_contents([tmp_path], named=True)["parity"]) == 2  # the newer one of the studies, and the run


@pytest.mark.parametrize("text", [None, "{", '{"study": "parity"}'])
def test_a_folder_that_was_named_must_hold_something(tmp_path: Path, text: str | None) -> None:
    if text:
        (tmp_path / FILE).write_text(text)
    with pytest.raises(UserError, match=f"--runs {tmp_path}: "):
        collect_contents([tmp_path], named=True)
    assert text or collect_contents([tmp_path], named=False) == {}


def test_claims_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [plain(tmp_path / "a", lorasp=0.0, full=10.0), plain(tmp_path / "b", lorasp=0.0, full=0.0)]
    words = ["study", "claims", "--runs", ",".join(map(str, runs)), "--out", str(tmp_path / "out"), "--json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "contradicted"
    text = (tmp_path / "out" / "report" / "report.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("| as good as full")]
    assert ["contradicted" in line for line in lines] == [True, False] and str(runs[1].name) in lines[1]
    assert main(["study", "claims", "--runs", str(tmp_path / "none")]) == 2
    assert main(["study", "accounting", "--runs", str(runs[0])]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and "no run and no study there" in said[0] and "study claims --runs" in said[1]


def test_a_study_judges_a_stored_run_in_place_of_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = plain(tmp_path / "run", lorasp=0.0, full=10.0), tmp_path / "out"
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert main(["study", "parity", "--runs", str(run), "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "contradicted"
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert json.loads((out / FILE).read_text())["preset"] == "quick"
    text = (out / "report" / "report.md").read_text()
    assert "Verdict: contradicted" in text
    assert main(["report", str(out)]) == 0 and "Verdict: contradicted" in (out / "report" / "report.md").read_text()
    capsys.readouterr()
    for words, says in (
        (["multilingual", "--runs", str(run)], "no cells that study multilingual can compare; it needs suite xnli"),
        (["parity", "--runs", f"{run},{run}"], "judges one stored run; give one folder"),
        (["parity", "--runs", str(tmp_path)], "no run there"),
    ):
        assert main(["study", *words, "--out", str(tmp_path / "other")]) == 2
        assert says in capsys.readouterr().err


def rated(rates: dict[str, dict[float, float]], seeds: int, *, validation: bool = True) -> list[Any]:
    """Runs of one task: method -> rate -> score; the validation score is that less 1, and noise is by seed."""
    made = []
    for method, by_rate in rates.items():
        for rate, score in by_rate.items():
            for seed in range(seeds):
                value = score + NOISE[seed % 5] * (2 if method == "lorasp" else 1)
                held = {"matthews_correlation_heldout": value - 1} if validation else {}
                scores = {"matthews_correlation": value, **held}
                made.append(record(value, cell("cola", method, seed, protocol={"lr": rate}), ("cola",), scores=scores))
    return made


def test_rates_of_a_plain_run_are_chosen_by_seeds_that_are_not_compared(tmp_path: Path) -> None:
    rates = {"lora": {1e-3: 80.0, 2e-3: 70.0}, "lorasp": {1e-3: 60.0, 2e-3: 80.0}, "full": {1e-4: 85.0}}
    run = store_of(tmp_path / "run", rated(rates, 12))
    (parity,) = collect_contents([run], named=True)["parity"]
    assert {n: p["kind"] for n, p in parity["parts"].items()} == {
        "lorasp against full": "contradicted",
        "lorasp against lora": "confirmed",
    }
    assert [row["pairs"] for row in parity["evidence"]] == ["9", "9"]
    assert any("3 seeds chose it" in note and "9 seeds compared" in note for note in parity["notes"])


@pytest.mark.parametrize(
    ("seeds", "validation", "says"), [(8, False, "no validation scores"), (3, True, "4 or more are needed")]
)
def test_rates_that_nothing_can_choose_are_refused(tmp_path: Path, seeds: int, validation: bool, says: str) -> None:
    rates = {"lora": {1e-3: 80.0, 2e-3: 70.0}, "lorasp": {1e-3: 60.0, 2e-3: 80.0}}
    run = store_of(tmp_path / "run", rated(rates, seeds, validation=validation))
    with pytest.raises(UserError, match=says):
        collect_contents([run], named=True)


def test_a_packed_run_is_named_with_how_to_unpack_it(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "cells.tar.xz").touch()
    for root in (tmp_path, tmp_path / "run"):
        with pytest.raises(UserError, match=f"unpacked: .*--unpack {tmp_path}/run RUN"):
            collect_contents([root], named=True)
        with pytest.raises(UserError, match=f"unpacked: .*--unpack {tmp_path}/run RUN"):
            load_runs_of_study(load_study("parity"), root)


def test_runs_without_a_folder_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "claims", "--runs", ",", "--out", str(tmp_path / "out")]) == 2
    assert "--runs names no folder" in capsys.readouterr().err and not (tmp_path / "out").exists()
