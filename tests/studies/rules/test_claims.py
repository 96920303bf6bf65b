"""Claims from stored studies: newest of each preset, stand-ins decide nothing, what is missing is named."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from studies.answer import Gathered
from studies.rules.claims import FILE, answer, read
from studies.study import Study, load, names


def store(root: Path, name: str, kind: str, *, preset: str = "small", folder: str = "", **fields: Any) -> Path:
    content = {"study": name, "preset": preset, "stand_in": preset == "quick", "kind": kind, "sentence": f"{name}."}
    path = root / (folder or f"study-{name}-{preset}") / FILE
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content | {"parts": {}} | fields))
    return path


def study_of(*claims: dict[str, str]) -> Study:
    made = [{"origin": "somewhere"} | c for c in claims]
    return load("claims").model_copy(update={"options": {"claims": made}})


def test_nothing_stored_names_every_study(tmp_path: Path) -> None:
    found = answer(load("claims"), Gathered(root=tmp_path))
    assert found.kind == "undecided" and {row["verdict"] for row in found.rows} == {"not run"}
    wanted = {name for name in names() if name != "claims"}
    assert all(f"python -m harness study {name}" in found.notes[0] for name in wanted)


def test_verdicts_and_parts(tmp_path: Path) -> None:
    store(tmp_path, "parity", "confirmed")
    parts = {"half frozen": {"kind": "contradicted", "sentence": "It saves little."}}
    store(tmp_path, "memory", "confirmed", parts=parts)
    good, part = {"says": "a", "study": "parity"}, {"says": "b", "study": "memory", "part": "half frozen"}
    assert answer(study_of(good), Gathered(root=tmp_path)).kind == "confirmed"
    found = answer(study_of(good, part), Gathered(root=tmp_path))
    assert found.kind == "contradicted"
    assert [row["verdict"] for row in found.rows] == ["confirmed", "contradicted"]
    assert found.rows[1]["evidence"] == "It saves little."


def test_a_stand_in_decides_nothing(tmp_path: Path) -> None:
    store(tmp_path, "parity", "confirmed", preset="quick")
    found = answer(study_of({"says": "a", "study": "parity"}), Gathered(root=tmp_path))
    assert found.kind == "undecided" and found.rows[0]["data"] == "quick, stand-in"


def test_the_newest_of_a_preset_counts(tmp_path: Path) -> None:
    old = store(tmp_path, "parity", "confirmed", folder="b")
    store(tmp_path, "parity", "contradicted", folder="a")
    os.utime(old, (1, 1))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / FILE).write_text("{")
    assert [one["kind"] for one in read(tmp_path)["parity"]] == ["contradicted"]
