"""The index of a large store: what it gives is what the record files say, whatever happened to either."""

from __future__ import annotations

import errno
import math
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from pydantic import BaseModel

from harness.core import record_index, stored_files
from harness.core.record import PackInfo, Phases, Record, Truncation
from harness.core.record_segment import MEANING
from harness.core.store import Store
from tests.reports.predicted import kept
from tests.reports.records import cell, record

Read = tuple[dict[str, Record], list[str]]


@pytest.fixture(autouse=True)
def small_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index for a few records, which trusts files at once: the tests need not wait."""
    monkeypatch.setattr(record_index, "MIN_RECORDS", 2)
    monkeypatch.setattr(record_index, "SETTLE_NS", -(10**12))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Records that differ in every kind of field, two of them with predictions."""
    store = Store(tmp_path / "out")
    store.prepare()
    for made in (
        record(70.0, cell("cola", "lora", 0), extra={"nested": {"a": [1, 2.5, None, "ü"]}}),
        record(70.0, cell("cola", "lora", 1), scores={"accuracy": math.nan, "f1": -0.0}),
        record(None, cell("rte", "lorasp", 0, options={"rank": 4, "targets": ["q", "v"]}), traceback="a\nb"),
        record(1.0, cell("rte", "lora", 2, seeds={"init": 0, "mask": 3}), status="oom", reason="no room"),
        record(
            2.0,
            cell("rte", "lora", 3, quantize="nf4", dtype="bf16", protocol={"max_steps": 7}),
            pack=PackInfo(keys=["a", "b"], slot=1, size=2, threads=1, timings=[(1, 0.5)]),
            phases=Phases(load=0.1, input=0.2, attach=0.3, train=0.4, evaluate=1 / 3),
            truncation=Truncation(rows={"train": 1}, total={"train": 9}),
            rows={"train": 9},
            data_notes=["a note"],
            loss_curve=[(1, math.inf), (2, 0.1)],
        ),
    ):
        store.write(made, None)
    for seed in (4, 5):
        made = kept(store.cells, np.array([0, 1]), np.array([0, 1]), seed=seed)
        content = (store.cells / f"{made.key}.parquet").read_bytes()
        (store.cells / f"{made.key}.parquet").unlink()
        store.write(made.model_copy(update={"predictions": None}), _to_frame(content))
    return store


def _to_frame(content: bytes) -> object:
    import io

    import pandas as pd

    return pd.read_parquet(io.BytesIO(content))


def read_files(out: Path) -> Read:
    """What the record files say, read one by one."""
    fresh = Store(out, may_write_index=False)
    fresh.index.find = lambda stamps: {}  # type: ignore[method-assign]
    return fresh.read()


def dump(read: Read) -> tuple[list[str], list[str]]:
    """As text, in which NaN equals NaN, and the order of fields counts."""
    return [made.model_dump_json() for made in read[0].values()], sorted(read[1])


def assert_true(store: Store) -> None:
    """What a fresh and an earlier reader get is what the files say."""
    truth = dump(read_files(store.out))
    assert dump(Store(store.out).read()) == truth
    assert dump(store.read()) == truth
    assert dump(Store(store.out).read()) == truth  # and from the index that the others have written


def test_records_from_the_index_equal_those_of_the_files(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = read_files(store.out)
    assert len(truth[0]) == 7
    store.read()
    assert list((store.out / "index").glob("*.segment"))
    parsed: list[Path] = []
    monkeypatch.setattr("harness.core.store.read_record", parsed.append)
    found = Store(store.out).read()
    assert not parsed and dump(found) == dump(truth)
    for key, made in found[0].items():
        assert made.cell.key == key and made.cell.label == truth[0][key].cell.label
        assert made.cell.sorted_seeds == truth[0][key].cell.sorted_seeds
        assert type(made.loss_curve[0]) is tuple and stored_files.to_json(made) == stored_files.to_json(truth[0][key])


def edit_in_place(path: Path) -> None:
    """Another number of parameters, with the size and the time of modification that the file had."""
    before, text = path.stat(), path.read_text()
    changed = text.replace("1024", "1025", 1)
    assert changed != text
    # with a digest that fits, or the change would show as damage
    content = stored_files.to_json(Record.model_validate_json(changed))
    assert len(content) == before.st_size
    with path.open("r+b") as stream:
        stream.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns and path.stat().st_ino == before.st_ino


def pick(store: Store, *, predictions: bool = False) -> Path:
    """The file of one record, with predictions or without."""
    for path in sorted(store.cells.glob("*.json")):
        made = Record.model_validate_json(path.read_bytes())
        if (made.predictions is not None) == predictions and made.parameters is not None:
            return path
    raise AssertionError


CHANGES: dict[str, Callable[[Store], object]] = {
    "edited in place, same size and time": lambda s: edit_in_place(pick(s)),
    "truncated": lambda s: os.truncate(pick(s), 100),
    "deleted": lambda s: pick(s).unlink(),
    "added": lambda s: s.write(record(3.0, cell("rte", "lora", 77)), None),
    "replaced": lambda s: s.write(record(99.0, Record.model_validate_json(pick(s).read_bytes()).cell), None),
    "content of another": lambda s: shutil.copy(pick(s), pick(s, predictions=True)),
    "predictions deleted": lambda s: pick(s, predictions=True).with_suffix(".parquet").unlink(),
    "predictions changed": lambda s: pick(s, predictions=True).with_suffix(".parquet").write_bytes(b"x"),
    "predictions a folder": lambda s: replace_by_folder(pick(s, predictions=True).with_suffix(".parquet")),
    "renamed": lambda s: pick(s).rename(s.cells / "0123456789abcdef.json"),
    "a link": lambda s: replace_by_link(pick(s)),
    "all deleted": lambda s: [path.unlink() for path in s.cells.glob("*.json")],
}


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_link(path: Path) -> None:
    target = path.parent.parent / "elsewhere.json"
    path.rename(target)
    path.symlink_to(target)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_of_a_file_shows(store: Store, change: Callable[[Store], object]) -> None:
    store.read()
    change(store)
    assert_true(store)


def test_a_file_behind_a_link_may_change(store: Store) -> None:
    replace_by_link(pick(store))
    store.read()
    edit_in_place(store.out / "elsewhere.json")
    assert_true(store)


def test_a_copied_folder_is_read_anew(store: Store, tmp_path: Path) -> None:
    store.read()
    copy = Store(tmp_path / "copy")
    shutil.copytree(store.out, copy.out)
    edit_in_place(pick(copy))
    assert_true(copy)
    assert_true(store)


def test_an_edit_within_one_tick_of_the_clock_shows(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that has just changed is not trusted: a second edit may leave all times as they are."""
    monkeypatch.setattr(record_index, "SETTLE_NS", 2_000_000_000)
    stamps = record_index.scan(store.cells)
    monkeypatch.setattr("harness.core.store.scan", lambda cells: stamps)  # a clock that stands still
    store.read()
    edit_in_place(pick(store))
    assert_true(store)


def test_files_of_whole_seconds_are_not_trusted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        def __init__(self, entry: os.DirEntry[str]) -> None:
            self.name, self.entry = entry.name, entry

        def stat(self, *, follow_symlinks: bool) -> os.stat_result:
            status = self.entry.stat(follow_symlinks=follow_symlinks)
            fields = {name: getattr(status, name) for name in ("st_mode", "st_size", "st_mtime_ns", "st_ino")}
            return type("Status", (), fields | {"st_ctime_ns": status.st_ctime_ns // 10**9 * 10**9})()  # type: ignore[return-value]

    class Entries(list[Entry]):
        def __enter__(self) -> Entries:
            return self

        def __exit__(self, *_: object) -> None: ...

    with os.scandir(store.cells) as entries:
        found = Entries(map(Entry, entries))
    monkeypatch.setattr(os, "scandir", lambda folder: found)
    assert set(record_index.scan(store.cells).values()) == {None}


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "one byte": lambda content: content[:-50] + bytes([content[-50] ^ 1]) + content[-49:],
    "no segment": lambda content: b"\0" * 100,
    "another version": lambda content: _sign(content.replace(b'{"format": "', b'{"format": "0')),
    "a value of another type": lambda content: _sign(content.replace(b'"ok"', b'"yes"')),
}


def _sign(content: bytes) -> bytes:
    import hashlib

    body = content.partition(b"\n")[2]
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_segment_is_left_out_and_replaced(store: Store, damage: Callable[[bytes], bytes]) -> None:
    store.read()
    (path,) = (store.out / "index").glob("*.segment")
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert_true(store)
    (path,) = (store.out / "index").glob("*.segment")
    assert path.read_bytes() == whole


def test_without_a_place_for_the_index_records_are_read_all_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store.out / "index").write_text("a file of the user")
    assert_true(store)
    (store.out / "index").unlink()

    def fill(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(record_index, "replace_file", fill)
    assert_true(store)
    assert list((store.out / "index").iterdir()) == []


def test_a_small_store_has_no_index(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_index, "MIN_RECORDS", 8)
    store.read()
    assert not (store.out / "index").exists()


def test_new_records_go_to_segments_that_are_joined_in_time(store: Store) -> None:
    store.read()
    for step in range(3 * record_index.MAX_SEGMENTS):
        for seed in (2 * step, 2 * step + 1):
            store.write(record(3.0, cell("sst2", "lora", seed)), None)
        Store(store.out).read()
        assert len(list((store.out / "index").glob("*.segment"))) <= record_index.MAX_SEGMENTS
    assert_true(store)


def test_two_readers_at_once_leave_a_true_index(store: Store) -> None:
    readers = [Store(store.out) for _ in range(2)]
    stamps = [record_index.scan(store.cells) for _ in readers]
    records = [read_files(store.out)[0] for _ in readers]
    for reader, seen in zip(readers, stamps, strict=True):
        reader.index.find(seen)
    edit_in_place(pick(store))  # between their look at the folder and their write
    for reader, seen, found in zip(readers, stamps, records, strict=True):
        reader.index.add(found.values(), seen, time.monotonic())
    assert_true(store)


def list_models(owner: type[BaseModel]) -> set[type[BaseModel]]:
    """A model with its bases of this project, and all models in its fields."""
    found = {base for base in owner.__mro__ if issubclass(base, BaseModel) and base.__module__.startswith("harness.")}
    for field in owner.model_fields.values():
        waiting = [field.annotation]
        while waiting:
            annotation = waiting.pop()
            waiting += get_args(annotation)
            if isinstance(annotation, type) and not get_args(annotation) and issubclass(annotation, BaseModel):
                found |= list_models(annotation)
    return found


def test_a_segment_is_stamped_with_all_code_that_defines_a_record() -> None:
    modules = {model.__module__.rpartition(".")[2] for model in list_models(Record)}
    assert {"record", "cell", "protocol"} <= modules <= set(MEANING)
