"""Plan: protocols, keys, what is dropped and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pandas as pd
import pytest
import scipy.stats
import sklearn.metrics

import harness.planning.plan as planning
from harness.cli.main import main
from harness.core.errors import NotApplicable, UserError
from harness.core.method import STRATEGIES, SUITES, Example, TaskData
from harness.core.metric import HELD_OUT
from harness.core.presets import E5, get_preset
from harness.core.spec_reading import make_spec
from harness.models.source import resolve
from harness.planning.packs import group_cells
from harness.planning.plan import make_plan
from tests.reports.records import restore_method


def plan(**flags: object) -> object:
    return make_plan(make_spec({"tasks": ("rte",), "seeds": "2", **flags}))


def cells(**flags: object) -> tuple:  # type: ignore[type-arg]
    return tuple(planned.cell for planned in plan(**flags).cells)  # type: ignore[attr-defined]


def test_main_job_is_ninety_cells_in_task_order() -> None:
    made = make_plan(make_spec({}))
    assert len(made.cells) == 90 and len({c.key for c in made.cells}) == 90
    assert [c.cell.task for c in made.cells[::10]] == [
        "cola",
        "sst2",
        "mrpc",
        "stsb",
        "qqp",
        "mnli",
        "qnli",
        "rte",
        "wnli",
    ]
    assert all(restore_method(c.cell) == c.method for c in made.cells)


def test_defaults_are_the_same_for_lora_and_lorasp() -> None:
    lora, _, lorasp, _ = cells()
    assert lora.protocol == lorasp.protocol and lora.seeds == lorasp.seeds


def test_key_holds_what_changes_results_and_nothing_else() -> None:
    first = cells()[0]
    assert cells(pack=1, device="cpu", threads=1, profile=False, methods="lora:rank=16")[0].key == first.key
    for flags in ({"lr": 0.1}, {"dtype": "bf16"}, {"max_steps": 3}, {"methods": "lora:rank=4"}, {"train_rows": 9}):
        assert cells(**flags)[0].key != first.key


def test_paper_protocol() -> None:
    lora, _, lorasp, _ = cells(protocol="paper")
    assert (lora.protocol.lr, lora.protocol.epochs, lora.protocol.max_steps) == (2e-5, 3.0, None)
    assert lorasp.options == {"target": ("query", "key", "value")} and lora.options == {}
    assert cells(protocol="paper", methods="lorasp:target=query")[0].options == {"target": ("query",)}


def test_the_users_budget_wins() -> None:
    cell = cells(epochs=2.0, methods="lora:lr=0.5")[0]
    assert (cell.protocol.epochs, cell.protocol.max_steps, cell.protocol.lr) == (2.0, None, 0.5)
    assert cell.protocol.lr_source == "given"


def test_what_cannot_be_is_refused_when_named_and_dropped_from_a_product() -> None:
    with pytest.raises(NotApplicable, match="quantize=nf4"):
        plan(methods="full", quantize="nf4")
    made = plan(methods="all", quantize="nf4")
    chosen = {c.cell.method for c in made.cells}  # type: ignore[attr-defined]
    assert {"head", "lora", "lorasp"} <= chosen and "full" not in chosen
    assert any("full" in line and "not applicable" in line for line in made.dropped)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"tasks": ("rt",)}, "did you mean 'rte'"),
        ({"suite": ("glu",)}, "did you mean 'glue'"),
        ({"preset": "quik"}, "did you mean 'quick'"),
        ({"model": ("/nowhere",)}, "not a folder"),
        ({"data_dir": "/nowhere"}, "no task has its rows"),
    ],
)
def test_wrong_names_and_places(flags: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        plan(**flags)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("split", "says"), [("trian", "did you mean 'train'"), ("train", "line 2: 1 columns")])
def test_a_file_given_by_hand_is_not_left_out_for_its_mistakes(tmp_path: Path, split: str, says: str) -> None:
    """Other tasks would run, and the file's not, without an error."""
    rows = tmp_path / "rows.tsv"
    rows.write_text("sentence1\tsentence2\tlabel\nalone\n")
    with pytest.raises(UserError, match=says):
        plan(tasks=("rte", "sst2"), data_file=(f"rte/{split}={rows}",))


def test_a_strategys_version_is_in_the_key_above_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 1 it is left out, so that keys made before it was there stay the same."""
    before = {c.label: c.key for c in cells(seeds="1", methods="lora,lora:match=lorasp|none,rank=15,lorasp")}
    monkeypatch.setitem(STRATEGIES._items, "random", dataclasses.replace(STRATEGIES.get("random"), version=2))
    after = {c.label: c.key for c in cells(seeds="1", methods="lora,lora:match=lorasp|none,rank=15,lorasp")}
    assert {label for label in before if before[label] != after[label]} == {"lora:match=lorasp,rank=15", "lorasp"}


def test_only_length_groups_have_a_length_seed() -> None:
    assert all("length" not in c.seeds for c in cells())
    assert [c.seeds["length"] for c in cells(group_by_length=True, methods="lora")] == [0, 1]
    assert [c.seeds["length"] for c in cells(group_by_length=True, methods="lora", seeds="2,length=5")] == [5, 5]
    with pytest.raises(UserError, match="--group-by-length"):
        cells(seeds="length=0..1")


def test_keys_of_today_stay() -> None:
    """Stored records are found by key: a change here means that every run starts anew."""
    lora, _, lorasp, _ = cells()
    assert (lora.key, lorasp.key) == ("daac9db155498467", "f8baeb68f0f1500a")


def test_what_the_rows_and_the_model_share_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, dev = tmp_path / "t.csv", tmp_path / "v.csv"
    train.write_text("a,y\n" + "".join(f"text {n},{'no' if n % 2 else 'yes'}\n" for n in range(9)))
    dev.write_text("a,y\nText 3!,no\nother,yes\ntext 4,no\n")
    files = (str(train), f"table/validation={dev}")
    spec = make_spec({"suite": "table", "data_file": files, "text": "a", "label": "y", "methods": "head", "seeds": "1"})
    assert "overlap: 2 of 3 validation rows occur in train" in make_plan(spec).cells[0].data.notes
    source = resolve(get_preset("quick"), "glue", None)
    turned = dataclasses.replace(source, path=tmp_path)
    (tmp_path / "config.json").write_text('{"id2label": {"0": "yes", "1": "no"}}')
    monkeypatch.setattr(planning, "resolve", lambda *_: turned)
    assert any("has the order yes, no" in note for note in make_plan(spec).cells[0].data.notes)


def test_e5_on_xnli_is_told_to_read_no_prefix() -> None:
    source = resolve(get_preset("quick"), "glue", None)
    data = TaskData({"train": (Example("a", ("b",), 0),)}, "f", "s")
    small, suites = get_preset("small"), {"xnli": SUITES.get("xnli")()}
    for name, told in ((E5, True), ("another", False)):
        models = {"xnli": dataclasses.replace(source, name=name)}
        notes = planning._add_notes(data, suites, small, models, "xnli", "en").notes
        assert any("without the prefix" in note for note in notes) == told


HEAD = "index\tsentence1\tsentence2\tlabel\n"


def rte_and_cola(folder: Path, train: bytes) -> Path:
    """Official layouts, cola well and rte's train.tsv as given."""
    for task, rows in (("RTE", f"{HEAD}0\ta\tb\tentailment\n"), ("CoLA", "x\t1\t\tA bird sang.\n")):
        (folder / task).mkdir()
        for split in ("train", "dev"):
            (folder / task / f"{split}.tsv").write_text(rows)
    (folder / "RTE" / "train.tsv").write_bytes(train)
    return folder


@pytest.mark.parametrize(
    ("train", "says"),
    [
        (f"{HEAD}0\ta\tb\tentailment\n1\ta\tb\tyes\n", "line 3: label 'yes', expected one of entailment, not_"),
        (f"{HEAD}0\ta\tb\n", "line 2: 3 columns, expected 4 (index, sentence1, sentence2, label)"),
        ("index\tone\ttwo\n", "line 1: header (index, one, two), expected columns (sentence1, sentence2, label)"),
        (f"{HEAD}0\t\t\tentailment\n", "line 2: empty text, expected words under sentence1, sentence2"),
        (HEAD, "no rows, expected columns"),
        ("", "empty file, expected columns sentence1, sentence2, label"),
        (b"\xff\xff", "line 1: expected UTF-8 text, found byte 0xff"),
    ],
)
def test_a_file_that_does_not_read_is_refused_where_its_task_is_named(
    train: str | bytes, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = rte_and_cola(tmp_path, train if isinstance(train, bytes) else train.encode())
    out = tmp_path / "out"
    for tasks in ("rte,cola", "rte"):
        words = ["run", "--data-dir", str(folder), "--tasks", tasks, "--out", str(out), "--max-steps", "1"]
        assert main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: {folder / 'RTE' / 'train.tsv'}") and says in line
        assert not list(out.glob("cells/*")) and not (out / "run.json").exists()
    made = make_plan(make_spec({"data_dir": folder, "out": out}))  # not named: left out with the line
    assert {c.cell.task for c in made.cells} == {"cola"}
    assert any(line.startswith("glue/rte left out: ") and says in line for line in made.dropped)


def test_a_task_without_its_folder_is_left_out_even_where_named(tmp_path: Path) -> None:
    folder = rte_and_cola(tmp_path, f"{HEAD}0\ta\tb\tentailment\n".encode())
    (folder / "CoLA" / "train.tsv").unlink()
    made = make_plan(make_spec({"data_dir": folder, "tasks": ("rte", "cola", "sst2")}))
    assert {c.cell.task for c in made.cells} == {"rte"} and len(made.dropped) == 2


def test_flags_of_several_values_give_the_cells_of_single_runs() -> None:
    grid = cells(lr="1e-3,2e-3", batch_size=(8, 16), schedule="linear,cosine", weight_decay="0,0.1", warmup="0.1,20")
    singles = [
        cell.key
        for lr in (1e-3, 2e-3)
        for batch in (8, 16)
        for schedule in ("linear", "cosine")
        for decay in (0.0, 0.1)
        for warmup in (0.1, 20)
        for cell in cells(lr=lr, batch_size=batch, schedule=schedule, weight_decay=decay, warmup=warmup)
    ]
    assert len(singles) == 2 * 2 * 32 == len(set(singles))
    assert {cell.key for cell in grid} == set(singles)


def test_cells_of_several_rates_share_a_pack_and_of_several_batch_sizes_do_not() -> None:
    made = plan(lr="1e-3,2e-3", batch_size="8,16").cells  # type: ignore[attr-defined]
    packs = group_cells(made, 100)
    assert [len(pack.cells) for pack in packs] == [8, 8]
    assert [{cell.protocol.batch_size for cell in pack.cells} for pack in packs] == [{8}, {16}]


def test_an_option_of_a_method_replaces_the_values_of_a_flag() -> None:
    made = cells(methods="lora:lr=5e-4,lorasp", lr="1e-3,2e-3")
    assert sorted({(c.method, c.protocol.lr) for c in made}) == [("lora", 5e-4), ("lorasp", 1e-3), ("lorasp", 2e-3)]
    assert len(made) == 6


def test_validation_holds_train_rows_out_and_leaves_the_eval_split_as_it_is() -> None:
    (official, *_), (held_out, *_) = plan().cells, plan(validation=True).cells  # type: ignore[attr-defined]
    train, rest, part = official.data.splits["train"], *(held_out.data.splits[s] for s in ("train", HELD_OUT))
    assert official.key != held_out.key
    assert {row.id for row in train} == {row.id for row in rest} | {row.id for row in part}
    assert len(train) == len(rest) + len(part) and len(part) == round(len(train) / 5)
    assert held_out.data.splits["validation"] == official.data.splits["validation"]
    assert held_out.task.metrics == ("accuracy", "accuracy_heldout")
    # a constant prediction is judged on the official rows alone
    assert held_out.suite.majority("rte", held_out.data) == official.suite.majority("rte", official.data)
    # methods and rates share the part
    assert len({c.data for c in cells(validation=True, lr="1e-3,2e-3")}) == 1


def test_rows_of_the_validation_part_that_are_trained_on_too_are_noted(tmp_path: Path) -> None:
    """60 rows with four texts: every row of the part has a twin among the others."""
    rows = tmp_path / "twins.csv"
    rows.write_text("text,y\n" + "".join(f"word number{i % 4},{i % 2}\n" for i in range(60)))
    options = {"suite": "table", "data_file": (str(rows),), "option": ("text=text", "label=y")}
    (first, *_) = plan(validation=True, tasks="", **options).cells  # type: ignore[attr-defined]
    count = len(first.data.splits[HELD_OUT])
    assert f"overlap: {count} of {count} {HELD_OUT} rows occur in train" in first.data.notes


def test_validation_scores_are_those_of_the_held_out_rows(tmp_path: Path) -> None:
    words = [
        "run",
        "--tasks",
        "cola,mnli,stsb",
        "--methods",
        "lora",
        "--seeds",
        "1",
        "--max-steps",
        "40",
        "--lr",
        "0.01",
    ]
    words += ["--validation", "--no-profile", "--formats", "csv", "--figures", ""]
    assert main([*words, "--out", str(tmp_path / "r")]) == 0
    for path in (tmp_path / "r" / "cells").glob("*.json"):
        record = json.loads(path.read_text())
        table = pd.read_parquet(path.with_suffix(".parquet"))
        table = table[table["split"] == HELD_OUT]
        assert len(table) == record["rows"][HELD_OUT] == 128
        predicted, target = table["prediction"], table["target"]
        expected = {
            "cola": lambda p, t: {"matthews_correlation_heldout": sklearn.metrics.matthews_corrcoef(t, p)},
            "mnli": lambda p, t: {"accuracy_heldout": sklearn.metrics.accuracy_score(t, p)},
            "stsb": lambda p, t: {
                "pearson_heldout": scipy.stats.pearsonr(p, t).statistic,
                "spearman_heldout": scipy.stats.spearmanr(p, t).statistic,
            },
        }[record["cell"]["task"]](predicted, target)
        scores = {name: value for name, value in record["scores"].items() if name.endswith("_heldout")}
        assert scores == pytest.approx({name: 100 * value for name, value in expected.items()}, abs=1e-4)
