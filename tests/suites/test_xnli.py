"""XNLI: fifteen languages, files without a header, a train part carved from dev by premise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core.errors import UserError
from harness.core.method import SourceRequest, TaskData
from suites.xnli import Xnli
from tests.suites.sources.files import MNLI_HEADER, mnli_row, write

LANGUAGES = "ar bg de el en es fr hi ru sw th tr ur vi zh".split()
LABELS = ("entailment", "neutral", "contradiction")
PREMISES = 30


def dev_rows(code: str) -> list[tuple[str, str, str]]:
    """30 premises of three rows each, parallel in all languages."""
    return [(f"{code} premise {n}", f"{code} says {label} {n}", label) for n in range(PREMISES) for label in LABELS]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for code in LANGUAGES:
        write(tmp_path / "data" / "xnli" / f"dev-{code}.tsv", dev_rows(code))
    return tmp_path / "data"


def loaded(folder: Path, task: str = "en", **files: Path) -> TaskData:
    given = {("xnli", split): (path,) for split, path in files.items()}
    return Xnli().load(task, SourceRequest("data-dir", folder, given))


def test_tasks_are_training_languages_scored_in_all() -> None:
    assert sorted(Xnli.tasks) == LANGUAGES
    for task in Xnli.tasks.values():
        assert task.labels == LABELS
        assert task.eval_splits == tuple(f"validation_{code}" for code in LANGUAGES)
        assert task.metrics == tuple(f"accuracy_{code}" for code in LANGUAGES)


@pytest.mark.parametrize(
    ("named", "tasks"), [((), ["en"]), (("de",), ["de"]), (("sw", "en"), ["en", "sw"]), (("rte",), LANGUAGES)]
)
def test_english_trains_unless_languages_are_named(named: tuple[str, ...], tasks: list[str]) -> None:
    suite = Xnli().configure(SourceRequest("embedded"), named)
    assert sorted(suite.tasks) == sorted(suite.averages[0].scores) == tasks


def test_the_headline_is_the_mean_over_fifteen_languages() -> None:
    suite = Xnli()
    guess, true = np.array([0, 1, 2, 2]), np.array([0, 1, 2, 0])
    scores: dict[str, float] = {}
    for code in LANGUAGES:
        scores |= suite.score("en", f"validation_{code}", true if code == "en" else guess, true)
    assert scores["accuracy_en"] == 100 and scores["accuracy_ur"] == 75
    assert suite.headline("en", scores, suite.averages[0]) == pytest.approx((100 + 14 * 75) / 15)
    assert suite.headline("en", {k: v for k, v in scores.items() if k != "accuracy_th"}, suite.averages[0]) is None


@pytest.mark.parametrize("task", ["en", "de"])
def test_carved_train_shares_no_premise_with_any_language(folder: Path, task: str) -> None:
    data = loaded(folder, task)
    number = {row.texts[0].split()[-1] for row in data.splits["train"]}
    assert len(number) == 20 and len(data.splits["train"]) == 60
    assert all(row.texts[0].startswith(task) for row in data.splits["train"])
    for code in LANGUAGES:
        scored = data.splits[f"validation_{code}"]
        assert len(scored) == 30
        assert {row.texts[0] for row in scored} == {f"{code} premise {n}" for n in range(30) if str(n) not in number}
        assert [row.label for row in scored] == [0, 1, 2] * 10
    (note,) = data.notes
    assert note.startswith(f"derived: train is 60 dev rows of '{task}' (20 of 30 premises)")


def test_files_that_are_not_parallel_give_no_train_part(folder: Path) -> None:
    rows = dev_rows("fr")
    write(folder / "xnli" / "dev-fr.tsv", rows[1:])
    with pytest.raises(UserError, match=r"'fr' \(89\) are not those of 'en' \(90\) line by line.*xnli/train="):
        loaded(folder)


def test_mnli_beside_trains_english_and_dev_is_whole(folder: Path) -> None:
    rows = [MNLI_HEADER, *(mnli_row(n, f"p {n}", f"h {n}", LABELS[n % 3]) for n in range(6))]
    write(folder / "MNLI" / "train.tsv", rows)
    for where in (folder, folder / "xnli"):
        data = loaded(where)
        assert [row.texts for row in data.splits["train"]] == [(f"p {n}", f"h {n}") for n in range(6)]
        assert len(data.splits["validation_zh"]) == 90 and data.notes == ()
    assert "derived" in loaded(folder, "de").notes[0]


def test_translated_train_files_of_the_release(folder: Path) -> None:
    rows = [("premise", "hypo", "label"), ("p", "h", "contradictory"), ("q", "h", "entailment")]
    write(folder / "xnli" / "multinli" / "multinli.train.de.tsv", rows)
    assert [row.label for row in loaded(folder, "de").splits["train"]] == [2, 0]


def test_a_train_file_of_the_user(folder: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "mine.tsv", [("p", "h", "neutral"), ("q", "h", "2")])
    data = loaded(folder, train=path)
    assert [row.label for row in data.splits["train"]] == [1, 2]
    assert data.notes == ("partial: train is read from mine.tsv",)
    assert data.source == "data-dir and data-file"


def test_errors_name_file_line_and_what_was_expected(folder: Path, tmp_path: Path) -> None:
    write(folder / "xnli" / "dev-sw.tsv", [*dev_rows("sw")[:4], ("p", "h", "maybe")])
    with pytest.raises(UserError, match=r"dev-sw\.tsv line 5: label 'maybe', expected one of entailment"):
        loaded(folder)
    (folder / "xnli" / "dev-sw.tsv").unlink()
    with pytest.raises(UserError, match=r"no dev-sw\.tsv in .*xnli/validation_LANG="):
        loaded(folder)
    with pytest.raises(UserError, match="unknown split of xnli 'validation_xx'"):
        loaded(folder, validation_xx=tmp_path)


def test_the_hub_s_configurations_are_languages(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: list[tuple[str, str]] = []

    def load_dataset(repository: str, name: str) -> dict[str, Any]:
        asked.append((repository, name))

        class Columns(dict[str, list[Any]]):
            column_names = ("premise", "hypothesis", "label")

        return {
            s: Columns(premise=[f"{name} {s}"] * 2, hypothesis=["h", "i"], label=[0, 2])
            for s in ("train", "validation", "test")
        }

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    data = Xnli().load("tr", SourceRequest("hub"))
    assert asked == [("facebook/xnli", code) for code in LANGUAGES]
    assert [row.texts for row in data.splits["train"]] == [("tr train", "h"), ("tr train", "i")]
    assert [row.label for row in data.splits["validation_ru"]] == [0, 2]
    assert data.splits["validation_ru"][0].texts[0] == "ru validation"
    assert data.source == "hub facebook/xnli" and data.notes == ()
