"""What --init-from may name, which bytes are in the key, and what is said of anything else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from harness.core.cell import Cell
from harness.core.errors import UserError
from harness.core.spec_reading import make_spec
from harness.models.adapter_source import resolve_init_from
from harness.planning.plan import make_plan

CONFIG = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "bias": "none"}


def folder(path: Path, content: bytes = b"weights", **config: Any) -> Path:
    path.mkdir(parents=True)
    (path / "adapter_config.json").write_text(json.dumps(CONFIG | config))
    (path / "adapter_model.safetensors").write_bytes(content)
    return path


def cell(**flags: Any) -> Cell:
    return make_plan(make_spec({"tasks": ("rte",), "seeds": "1", "methods": "lora", **flags})).cells[0].cell


def test_the_key_has_the_content_and_the_scale_not_the_path(tmp_path: Path) -> None:
    plain = cell()
    first = cell(init_from=str(folder(tmp_path / "a")))
    assert first.initial is not None and first.initial.revision == hashlib.sha256(b"weights").hexdigest()
    assert first.key != plain.key and cell(init_from=str(folder(tmp_path / "b"))).key == first.key
    for number, change in enumerate(({"content": b"others"}, {"lora_alpha": 8}, {"alpha_pattern": {"query": 3}})):
        assert cell(init_from=str(folder(tmp_path / str(number), **change))).key != first.key  # type: ignore[arg-type]


def test_microsoft_file_and_its_alpha(tmp_path: Path) -> None:
    path = tmp_path / "odd:name.bin"
    path.write_bytes(b"tensors")
    assumed, given, same = (resolve_init_from(f"{path}{tail}")(cell()) for tail in ("", ":alpha=8", ":alpha=16"))
    assert assumed.alpha == 16 and "alpha: 16 assumed" in (assumed.note or "")
    assert given.alpha == 8 and given.note is None and given.weights == path
    keys = [cell(init_from=f"{path}{tail}").key for tail in ("", ":alpha=8", ":alpha=16")]
    assert keys[0] == keys[2] != keys[1] and same.ref.scaling == assumed.ref.scaling


def test_the_note_on_alpha_is_a_line_of_the_plan(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"tensors")
    plan = make_plan(make_spec({"tasks": ("rte",), "methods": "lora", "init_from": str(tmp_path / "a.bin")}))
    assert len(plan.notes) == 1 and "assumed" in plan.notes[0]


def test_methods_that_cannot_are_refused_alone_and_dropped_from_several(tmp_path: Path) -> None:
    start = str(folder(tmp_path / "a"))
    with pytest.raises(UserError, match="method 'vera' starts from no adapter"):
        cell(methods="vera", init_from=start)
    plan = make_plan(make_spec({"tasks": ("rte",), "methods": "lora,vera,full", "init_from": start}))
    assert {c.cell.method for c in plan.cells} == {"lora"} and len(plan.dropped) == 2


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("absent", "no such file or folder"),
        ("empty", "no adapter_config.json and no cells in"),
        ("bare", "no adapter_model.safetensors or adapter_model.bin"),
        ("vera", "an adapter of type VERA; allowed: plain LORA"),
        ("dora", "an adapter of type LORA; allowed: plain LORA, bias none, no DoRA"),
        ("broken", "is not JSON"),
        ("lora:alpha=3", "does not belong to a peft folder"),
        ("file.txt", "not a .bin or .pt file"),
        ("file.bin:alpha=-1", "allowed: alpha=NUMBER, above 0"),
        ("file.bin:beta=1", "allowed: alpha=NUMBER, above 0"),
        ("run", "has saved no adapters; run it again with --save-adapters"),
    ],
)
def test_a_mistake_is_one_line(name: str, says: str, tmp_path: Path) -> None:
    folder(tmp_path / "lora")
    folder(tmp_path / "vera", peft_type="VERA")
    folder(tmp_path / "dora", use_dora=True)
    (folder(tmp_path / "bare") / "adapter_model.safetensors").unlink()
    (folder(tmp_path / "broken") / "adapter_config.json").write_text("{")
    (tmp_path / "empty").mkdir()
    (tmp_path / "run" / "cells").mkdir(parents=True)
    for file in ("file.txt", "file.bin"):
        (tmp_path / file).write_bytes(b"")
    with pytest.raises(UserError) as raised:
        cell(init_from=str(tmp_path / name))
    assert says in str(raised.value) and "\n" not in str(raised.value)
