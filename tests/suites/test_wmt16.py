"""The suite's sources, on small files laid out as the official ones are."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core.errors import UserError
from harness.core.method import SourceRequest
from suites.wmt16 import Wmt16

STEMS = ("train", "newsdev2016", "newstest2016")


def folder(path: Path, stems: tuple[str, ...] = STEMS) -> Path:
    path.mkdir(exist_ok=True)
    for stem in stems:
        for side in ("en", "ro"):
            (path / f"{stem}.{side}").write_text("".join(f"{stem} {side} {i}\n" for i in range(3)))
    return path


def request(path: Path, **files: Any) -> SourceRequest:
    return SourceRequest("data-dir", path, files.get("files", {}))


def pairs(data: Any, split: str) -> list[tuple[str, str]]:
    return [(row.texts[0], row.label) for row in data.splits[split]]


@pytest.mark.parametrize("inside", [True, False])
def test_official_files_in_both_directions(tmp_path: Path, inside: bool) -> None:
    folder(tmp_path / "wmt16")
    place = tmp_path / "wmt16" if inside else tmp_path
    data = Wmt16().load("en-ro", request(place))
    assert set(data.splits) == {"train", "test"} and data.notes == () and data.source == "data-dir"
    assert pairs(data, "test")[1] == ("newstest2016 en 1", "newstest2016 ro 1")
    assert data.splits["test"][2].id == "test/2"
    back = Wmt16().load("ro-en", request(place))
    assert pairs(back, "train")[0] == ("train ro 0", "train en 0")
    assert back.fingerprint != data.fingerprint


def test_without_a_training_part_newsdev_serves_and_a_note_says_so(tmp_path: Path) -> None:
    place = folder(tmp_path, STEMS[1:])
    data = Wmt16().load("en-ro", request(place))
    assert pairs(data, "train")[0] == ("newsdev2016 en 0", "newsdev2016 ro 0")
    assert data.notes == (
        "derived: no train.en and train.ro, so newsdev2016 serves as the training part: not official",
    )


def test_training_pairs_for_the_suite_or_a_task(tmp_path: Path) -> None:
    place = folder(tmp_path, STEMS[1:])
    (tmp_path / "own.en").write_text("one\n")
    (tmp_path / "own.ro").write_text("unu\n")
    own = (tmp_path / "own.en", tmp_path / "own.ro")
    for name in ("wmt16", "ro-en"):
        data = Wmt16().load("ro-en", request(place, files={(name, "train"): own}))
        assert pairs(data, "train") == [("unu", "one")] and len(data.splits["test"]) == 3
        assert data.source == "data-dir and data-file"
        assert data.notes == ("partial: train is read from own.en, own.ro, not official files",)
    other = Wmt16().load("ro-en", request(place, files={("en-ro", "train"): own}))
    assert len(other.splits["train"]) == 3
    with pytest.raises(UserError, match="train is given for wmt16 and for ro-en"):
        Wmt16().load("ro-en", request(place, files={("wmt16", "train"): own, ("ro-en", "train"): own}))
    with pytest.raises(UserError, match=r"unknown split of wmt16 'validation'.*allowed: test, train"):
        Wmt16().load("ro-en", request(place, files={("wmt16", "validation"): own}))


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no newstest2016.en and newstest2016.ro in .* give --data-dir DIR"):
        Wmt16().load("en-ro", request(tmp_path))
    (folder(tmp_path) / "train.ro").unlink()
    with pytest.raises(UserError, match=r"train.ro: no such file, expected both sides of train; .*--data-file wmt16"):
        Wmt16().load("en-ro", request(tmp_path))
    (tmp_path / "newstest2016.en").unlink()
    with pytest.raises(UserError, match=r"newstest2016.en: no such file"):
        Wmt16().load("ro-en", request(without_train(tmp_path)))


def without_train(path: Path) -> Path:
    """The same folder without a training part."""
    for name in ("train.en", "train.ro"):
        (path / name).unlink(missing_ok=True)
    return path


class Rows:
    """What is used of datasets.Dataset."""

    def __init__(self, *pairs: tuple[str, str]) -> None:
        self.pairs = [{"en": en, "ro": ro} for en, ro in pairs]

    def __getitem__(self, name: str) -> list[dict[str, str]]:
        assert name == "translation"
        return self.pairs


def test_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(repository: str, configuration: str) -> dict[str, Rows]:
        asked.append((repository, configuration))
        return {"train": Rows(("one", "unu"), ("", "doi"), ("two", " ")), "test": Rows(("t", "u"))}

    module = types.ModuleType("datasets")
    monkeypatch.setattr(module, "load_dataset", load, raising=False)
    monkeypatch.setitem(sys.modules, "datasets", module)
    data = Wmt16().load("ro-en", SourceRequest("hub"))
    assert asked == [("wmt/wmt16", "ro-en")] and data.source == "hub wmt/wmt16"
    assert pairs(data, "train") == [("unu", "one")] and pairs(data, "test") == [("u", "t")]
    assert data.notes == ("dropped: train: 2 pairs with an empty side",)

    def broken(*_: str) -> None:
        raise ConnectionError("no route\nand more")

    monkeypatch.setattr(module, "load_dataset", broken)
    says = r"load_dataset\('wmt/wmt16', 'ro-en'\) failed: ConnectionError: no route; without the hub, give --data-dir"
    with pytest.raises(UserError, match=says):
        Wmt16().load("ro-en", SourceRequest("hub"))


def test_scores_of_a_perfect_and_of_an_empty_translation() -> None:
    references = np.array(["Pisica vede câinele mare.", "Câinele doarme acum aici."], dtype=object)
    suite = Wmt16()
    perfect = suite.score("en-ro", "test", references, references)
    assert perfect == pytest.approx({"bleu": 100, "chrf2": 100, "ter": 0, "bleu_normalised": 100})
    empty = suite.score("en-ro", "test", np.array(["", ""], dtype=object), references)
    assert empty == pytest.approx({"bleu": 0, "chrf2": 0, "ter": 100, "bleu_normalised": 0})
    assert suite.headline("en-ro", perfect, suite.averages[0]) == pytest.approx(100)
    assert set(suite.averages[0].scores) == {"en-ro", "ro-en"}
    assert set(suite.notes("ro-en")["signatures"]) == {"bleu", "chrf2", "ter"}
