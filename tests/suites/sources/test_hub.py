"""The hub source against a stub of `datasets`: no network in a test."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from harness.core.errors import UserError
from harness.core.method import SourceRequest
from suites.glue import Glue
from suites.sources import hub

HUB = SourceRequest("hub")


@pytest.fixture(autouse=True)
def _reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_unreachable_since", None)


class Split:
    """What is used of datasets.Dataset: column names and columns."""

    def __init__(self, **columns: Sequence[Any]) -> None:
        self.columns = columns
        self.column_names = list(columns)

    def __getitem__(self, name: str) -> Sequence[Any]:
        return self.columns[name]


def stub(monkeypatch: pytest.MonkeyPatch, load: Callable[[str, str], Any]) -> None:
    module = types.ModuleType("datasets")
    monkeypatch.setattr(module, "load_dataset", load, raising=False)
    monkeypatch.setitem(sys.modules, "datasets", module)


def test_rows_labels_and_ids_as_in_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def load(repository: str, task: str) -> dict[str, Split]:
        asked.append((repository, task))
        split = Split(premise=["p", "q"], hypothesis=["h", "i"], label=[2, 0], idx=[0, 1])
        return {name: split for name in ("train", "validation_matched", "validation_mismatched", "test_matched")}

    stub(monkeypatch, load)
    data = Glue().load("mnli", HUB)
    assert asked == [("nyu-mll/glue", "mnli")]
    assert [(row.id, row.texts, row.label) for row in data.splits["validation_matched"]] == [
        ("validation_matched/0", ("p", "h"), 2),
        ("validation_matched/1", ("q", "i"), 0),
    ]
    assert (data.source, data.notes) == ("hub nyu-mll/glue", ())


def test_float32_similarities_read_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    split = Split(sentence1=["a"], sentence2=["b"], label=[3.799999952316284], idx=[0])
    stub(monkeypatch, lambda *_: {"train": split, "validation": split})
    assert Glue().load("stsb", HUB).splits["train"][0].label == 3.8


def test_no_network_says_what_was_tried_and_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: str) -> None:
        raise ConnectionError("Couldn't reach 'nyu-mll/glue' on the Hub (LocalEntryNotFoundError)\nand more")

    stub(monkeypatch, load)
    with pytest.raises(UserError) as caught:
        Glue().load("sst2", HUB)
    assert str(caught.value) == (
        "datasets.load_dataset('nyu-mll/glue', 'sst2') failed: ConnectionError: Couldn't reach 'nyu-mll/glue' on the "
        "Hub (LocalEntryNotFoundError); without the hub, give --data-dir DIR with SST-2/ in it"
    )


def test_a_hub_without_the_split_and_a_hidden_label(monkeypatch: pytest.MonkeyPatch) -> None:
    split = Split(sentence=["a", "b"], label=[1, -1])
    stub(monkeypatch, lambda *_: {"train": split})
    with pytest.raises(UserError, match="the hub has train, not validation"):
        Glue().load("sst2", HUB)
    stub(monkeypatch, lambda *_: {"train": split, "validation": split})
    with pytest.raises(UserError, match="nyu-mll/glue/sst2/train row 2: label '-1', expected one of 0, 1"):
        Glue().load("sst2", HUB)


def test_after_a_connection_error_only_the_cache_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt takes 23 s: the first task pays for it, the eight others do not ask, and cached rows still load."""
    import datasets
    import huggingface_hub

    split = Split(sentence=["a", "b"], label=[1, 0])
    states: list[bool] = []

    def load(repository: str, task: str) -> dict[str, Split]:
        states.append(bool(config.HF_HUB_OFFLINE))
        if task == "sst2":
            return {"train": split, "validation": split}
        raise FileNotFoundError("not cached") from type("ConnectError", (Exception,), {})("no route")

    config = datasets.config
    stub(monkeypatch, load)
    monkeypatch.setattr(sys.modules["datasets"], "config", config, raising=False)
    before = (config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE)
    for task in ("cola", "rte", "mrpc"):
        with pytest.raises(UserError, match=f"'{task}'"):
            Glue().load(task, HUB)
    assert len(Glue().load("sst2", HUB).splits["train"]) == 2
    assert states == [before[0], True, True, True]
    assert before == (config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE)


def test_another_error_does_not_switch_the_hub_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: str) -> None:
        raise ValueError("no such configuration")

    stub(monkeypatch, load)
    with pytest.raises(UserError):
        Glue().load("cola", HUB)
    assert hub._unreachable_since is None
