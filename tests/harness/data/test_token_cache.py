"""Tokenised rows on disk: the same tensors again, and no two inputs under one key."""

from __future__ import annotations

import concurrent.futures
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from harness.cli.main import main
from harness.core.cache_folder import cache_folder
from harness.core.errors import UserError
from harness.core.method import Example, Task, TaskData
from harness.core.presets import get_preset
from harness.data.inputs import Inputs, read_inputs
from harness.data.task_types import load_task_type
from harness.data.task_types.classification import LabelledRows
from harness.data.token_cache import compute_split_key, get_split_path, hash_tokenizer, read_split, write_split
from harness.models.load import load_tokenizer
from harness.models.source import resolve
from tests.harness.small_training import protocol, rows

TASK = Task("t", ("no", "yes"), ("validation",), ("accuracy",))
EXAMPLES = (Example("a", ("the cat sleeps", "the dog runs"), 0), Example("b", ("a " * 30, "the dog"), 1))
DATA = TaskData({"train": EXAMPLES, "validation": EXAMPLES[:1]}, "f", "s")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(resolve(get_preset("quick"), "glue", None))


def files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def assert_same(one: Inputs, two: Inputs) -> None:
    assert one.truncation == two.truncation
    for name, split in one.splits.items():
        other = two.splits[name]
        assert isinstance(split, LabelledRows) and isinstance(other, LabelledRows)
        for field in dataclasses.fields(split):
            a, b = getattr(split, field.name), getattr(other, field.name)
            assert type(a) is type(b)
            same = torch.equal(a, b) if isinstance(a, torch.Tensor) else np.array_equal(a, b)
            assert same and getattr(a, "dtype", None) == getattr(b, "dtype", None)


def test_the_second_reading_gives_the_same_and_does_not_tokenise(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = read_inputs(tokenizer, TASK, DATA, protocol())
    first = read_inputs(tokenizer, TASK, DATA, protocol(), tmp_path)
    assert len(files(tmp_path)) == 2

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("tokenised again")

    monkeypatch.setattr(type(load_task_type("classification")), "tokenise", refuse)
    second = read_inputs(tokenizer, TASK, DATA, protocol(), tmp_path)
    assert_same(plain, first)
    assert_same(plain, second)
    assert second.truncation.rows == {"train": 1, "validation": 0}
    read_inputs(tokenizer, TASK, DATA, protocol(lr=0.5, epochs=1.0, batch_size=2), tmp_path)  # cells share them
    with pytest.raises(AssertionError, match="tokenised again"):
        read_inputs(tokenizer, TASK, DATA, protocol(max_length=9), tmp_path)


def key(digest: str = "tok", task: Task = TASK, given: tuple[Example, ...] = EXAMPLES, **fields: Any) -> str:
    train, version = fields.pop("train", True), fields.pop("version", 1)
    return compute_split_key(digest, task, given, protocol(**fields), train=train, version=version)


def test_differing_inputs_have_differing_keys(tokenizer: Any) -> None:
    def changed(**fields: Any) -> tuple[Example, ...]:
        return (dataclasses.replace(EXAMPLES[0], **fields), EXAMPLES[1])

    keys = [
        key(),
        key("another tokenizer"),
        key(max_length=13),
        key(max_target_length=13),
        key(shots=1),
        key(train=False),
        key(version=2),
        key(task=dataclasses.replace(TASK, labels=("yes", "no"))),
        key(given=EXAMPLES[:1]),
        key(given=EXAMPLES[::-1]),
        key(given=changed(label=1)),
        key(given=changed(label=0.0)),
        key(given=changed(id="z")),
        key(given=changed(texts=("the cat sleeps the", "dog runs"))),
        key(given=changed(texts=("the cat sleeps the dog runs",))),
    ]
    assert len(set(keys)) == len(keys)
    assert key() == keys[0] == key(lr=0.5, max_steps=3, batch_size=2)


def test_the_tokenizer_s_digest_is_that_of_its_rules(tokenizer: Any) -> None:
    before = hash_tokenizer(tokenizer)
    tokenizer("a b c", truncation=True, max_length=3, padding="max_length")
    assert hash_tokenizer(tokenizer) == before  # settings of a call are none of them
    other = load_tokenizer(resolve(get_preset("quick"), "glue", None))
    assert hash_tokenizer(other) == before
    other.add_tokens(["newword"])
    assert hash_tokenizer(other) != before
    assert hash_tokenizer(object()) is None


def test_the_config_beside_the_tokenizer_is_in_its_digest(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.save_pretrained(str(tmp_path))
    found = set()
    for start in (0, 1):
        (tmp_path / "config.json").write_text(f'{{"model_type": "t5", "decoder_start_token_id": {start}}}')
        found.add(hash_tokenizer(AutoTokenizer.from_pretrained(str(tmp_path))))
    assert len(found) == 2


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text", "gone"])
def test_a_damaged_file_is_built_anew(tokenizer: Any, tmp_path: Path, damage: str) -> None:
    first = read_inputs(tokenizer, TASK, DATA, protocol(), tmp_path)
    for path in files(tmp_path):
        whole = path.read_bytes()
        flipped = whole[:-1] + bytes([whole[-1] ^ 1])
        made = {"cut": whole[:-5], "flipped": flipped, "empty": b"", "text": b"not a file of tensors", "gone": whole}
        path.write_bytes(made[damage])
        if damage == "gone":
            path.unlink()
        assert read_split(tmp_path, path.stem) is None
    assert_same(first, read_inputs(tokenizer, TASK, DATA, protocol(), tmp_path))
    assert all(read_split(tmp_path, path.stem) is not None for path in files(tmp_path))


def test_a_class_from_elsewhere_is_neither_stored_nor_made(tmp_path: Path) -> None:
    @dataclasses.dataclass
    class Foreign(LabelledRows):
        pass

    split = rows(3)
    fields = {field.name: getattr(split, field.name) for field in dataclasses.fields(split)}
    assert not write_split(tmp_path, "k" * 64, Foreign(**fields))
    assert write_split(tmp_path, "k" * 64, split)
    path = get_split_path(tmp_path, "k" * 64)
    path.write_bytes(path.read_bytes().replace(b"harness.data.task_types.", b"harness.task-types."))
    assert read_split(tmp_path, "k" * 64) is None


def test_many_writers_leave_one_whole_file(tmp_path: Path) -> None:
    split = rows(200)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: write_split(tmp_path, "c" * 64, split), range(16)))
    assert files(tmp_path) == [get_split_path(tmp_path, "c" * 64)]
    stored = read_split(tmp_path, "c" * 64)
    assert isinstance(stored, LabelledRows) and torch.equal(stored.ids, split.ids)


def test_a_folder_that_takes_no_file_is_gone_without(tokenizer: Any, tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.write_text("")
    assert_same(
        read_inputs(tokenizer, TASK, DATA, protocol(), taken), read_inputs(tokenizer, TASK, DATA, protocol(), None)
    )


def test_the_folder_is_the_environment_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORASP_HARNESS_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("LORASP_HARNESS_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "lorasp-harness"


def test_a_split_without_rows_is_refused(tokenizer: Any) -> None:
    empty = TaskData({"train": EXAMPLES, "validation": ()}, "f", "s")
    with pytest.raises(UserError, match="t/validation: no rows to score"):
        read_inputs(tokenizer, TASK, empty, protocol())


def test_no_cache_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORASP_HARNESS_CACHE", str(tmp_path / "cache"))
    command = "run --tasks rte --methods head --seeds 1 --max-steps 1 --eval-rows 20 --no-profile"
    assert main([*command.split(), "--no-cache", "--out", str(tmp_path / "without")]) == 0
    assert files(tmp_path / "cache") == []
    assert main([*command.split(), "--cache", "--out", str(tmp_path / "with")]) == 0
    assert len(files(tmp_path / "cache" / "splits")) == 2
