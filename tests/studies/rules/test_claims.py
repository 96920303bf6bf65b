"""Claims judged by what studies and runs found: real data decides, stand-ins do not, what is missing is named."""

from __future__ import annotations

from typing import Any

import pytest

from studies.answer import StudyRuns
from studies.rules.claims import judge
from studies.study import Study, list_studies, load_study


def found(name: str, kind: str, *, preset: str = "small", **fields: Any) -> dict[str, Any]:
    content = {"study": name, "preset": preset, "stand_in": preset == "quick", "kind": kind, "sentence": f"{name}."}
    return content | {"parts": {}, "folder": f"runs/{name}-{preset}"} | fields


def seen(*contents: dict[str, Any]) -> StudyRuns:
    by: dict[str, list[dict[str, Any]]] = {}
    for content in contents:
        by.setdefault(content["study"], []).append(content)
    return StudyRuns(stored=by)


def study_of(*claims: dict[str, str]) -> Study:
    made = [{"origin": "somewhere"} | c for c in claims]
    return load_study("claims").model_copy(update={"options": {"claims": made}})


PARITY = {"says": "a", "study": "parity"}


def test_nothing_stored_names_every_study_and_every_command() -> None:
    made = judge(load_study("claims"), seen())
    assert made.kind == "undecided" and {row["verdict"] for row in made.rows} == {"not run", "not tested here"}
    assert len(made.rows) == len(load_study("claims").options["claims"])
    wanted = {name for name in list_studies() if name != "claims"}
    assert all(f"python -m harness study {name}" in made.notes[-1] for name in wanted)
    open_ones = [row for row in made.rows if row["verdict"] == "not tested here"]
    assert all(row["evidence"].startswith("python -m harness run --preset paper") for row in open_ones)
    assert {"wmt16", "mmlu", "glue"} <= {w for row in open_ones for w in row["evidence"].split()}


def test_every_claim_of_the_paper_is_listed() -> None:
    """The parts of the paper's summary: results, mechanisms, experiments, open questions, next checks."""
    text = " ".join(c["origin"] for c in load_study("claims").options["claims"])
    places = ["abstract", "executive summary", "method"]
    places += [f"key result {n}" for n in range(1, 5)] + [f"mechanism {n}" for n in range(1, 4)]
    places += [f"{kind} {n}" for kind in ("experiment", "open question", "next check") for n in range(1, 4)]
    assert [p for p in places if p not in text] == []


def test_parts_decide() -> None:
    parts = {"half frozen": {"kind": "contradicted", "sentence": "It saves little."}}
    memory = found("memory", "confirmed", parts=parts)
    whole, part = {"says": "b", "study": "memory"}, {"says": "c", "study": "memory", "part": "half frozen"}
    assert judge(study_of(PARITY, whole), seen(found("parity", "confirmed"), memory)).kind == "confirmed"
    made = judge(study_of(PARITY, whole, part), seen(found("parity", "confirmed"), memory))
    assert made.kind == "contradicted"
    assert [row["verdict"] for row in made.rows] == ["confirmed", "confirmed", "contradicted"]
    assert made.rows[2]["evidence"] == "It saves little."
    assert "2 confirmed, 1 contradicted, 0 undecided; 0 have no such evidence" in made.sentence


@pytest.mark.parametrize("kind", ["confirmed", "contradicted"])
def test_a_stand_in_decides_nothing(kind: str) -> None:
    made = judge(study_of(PARITY), seen(found("parity", kind, preset="quick")))
    assert made.kind == "undecided" and made.rows[0]["data"] == "quick, synthetic"
    assert made.rows[0]["verdict"] == kind and "1 have no such evidence" in made.sentence


@pytest.mark.parametrize(
    ("kinds", "verdict"),
    [
        (["confirmed", "confirmed"], "confirmed"),
        (["confirmed", "undecided"], "undecided"),
        (["confirmed", "contradicted"], "contradicted"),
    ],
)
def test_runs_of_one_claim_must_agree(kinds: list[str], verdict: str) -> None:
    runs = [found("parity", kind, folder=f"run{n}") for n, kind in enumerate(kinds)]
    made = judge(study_of(PARITY), seen(*runs))
    assert made.kind == verdict and [row["folder"] for row in made.rows] == ["run0", "run1"]


def test_one_open_claim_leaves_all_open_and_one_contradiction_does_not() -> None:
    other = {"says": "b", "study": "domain"}
    assert judge(study_of(PARITY, other), seen(found("parity", "confirmed"))).kind == "undecided"
    assert judge(study_of(PARITY, other), seen(found("parity", "contradicted"))).kind == "contradicted"


def test_undecided_tells_the_power() -> None:
    part = {"kind": "undecided", "sentence": "Open.", "power": "It takes 14 seeds."}
    claim = PARITY | {"part": "x"}
    made = judge(study_of(claim), seen(found("parity", "undecided", parts={"x": part})))
    assert made.rows[0]["evidence"] == "Open. It takes 14 seeds."
    sure = judge(study_of(claim), seen(found("parity", "confirmed", parts={"x": part | {"kind": "confirmed"}})))
    assert sure.rows[0]["evidence"] == "Open."


def test_a_run_without_the_part_or_the_suite_is_no_evidence() -> None:
    part = PARITY | {"part": "lorasp against full"}
    other = PARITY | {"says": "b", "suite": "wmt16", "command": "python -m harness run --suite wmt16"}
    made = judge(study_of(part, other), seen(found("parity", "confirmed", plain=True)))
    assert [row["verdict"] for row in made.rows] == ["not run", "not tested here"]
    there = found("parity/wmt16", "confirmed", plain=True)
    assert judge(study_of(other), seen(there)).rows[0]["verdict"] == "confirmed"
    assert judge(study_of(PARITY), seen(found("parity", "undecided", plain=True, lacks="cells"))).parts == {}


def test_a_late_margin_is_told() -> None:
    made = judge(study_of(PARITY), seen(found("parity", "confirmed", margin_late=True)))
    assert made.rows[0]["verdict"] == "confirmed (post hoc margin)"


def test_notes_say_what_a_verdict_is_not() -> None:
    """Nothing is corrected over claims or runs, and older studies beside the newest do not count."""
    notes = " ".join(judge(load_study("claims"), seen()).notes)
    assert "nothing is corrected over claims or runs" in notes and "only the newest" in notes
