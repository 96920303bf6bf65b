"""Each claim of the paper and what the stored studies and runs say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from studies.answer import Answer, Gathered, Part, together
from studies.study import Kind, Study

Claim = Mapping[str, Any]
Content = Mapping[str, Any]


def answer(study: Study, seen: Gathered) -> Answer:
    """Options: `claims`, each with `says`, `origin`, and `study`, or a `command` that would test it.

    `part`: the part of the study that decides; `suite`: only runs of that suite are asked.
    """
    claims = study.options["claims"]
    parts: dict[str, Part] = {}
    rows: list[dict[str, str]] = []
    real: dict[str, list[Kind]] = {}
    for claim in claims:
        found = [(one, part) for one in of_claim(claim, seen) if (part := part_of(one, claim.get("part")))]
        rows += [_row(claim, one, part) for one, part in found] or [_open(claim)]
        parts |= {f"{claim['says']} ({_data(one)}, {one['folder']})": part for one, part in found}
        real[claim["says"]] = [part.kind for one, part in found if not one["stand_in"]]
    verdicts = [together(kinds) if kinds else None for kinds in real.values()]
    kind: Kind = "contradicted" if "contradicted" in verdicts else "undecided"
    kind = "confirmed" if set(verdicts) == {"confirmed"} else kind
    return Answer(kind, _sentence(verdicts), parts, rows, _notes(rows))


def of_claim(claim: Claim, seen: Gathered) -> Sequence[Content]:
    """What was found for the claim's study, of the claim's suite where it names one."""
    if "study" not in claim:
        return ()
    return seen.stored.get(f"{claim['study']}/{claim['suite']}" if "suite" in claim else claim["study"], ())


def part_of(one: Content, name: str | None) -> Part | None:
    """The verdict of a study, or of one of its parts; None where it has nothing to say to it."""
    if name is None:
        if one.get("lacks") and one.get("plain"):
            return None
        return Part(one["kind"], one["sentence"])
    part = one["parts"].get(name)
    return None if part is None else Part(part["kind"], part["sentence"], part.get("power", ""))


def _sentence(verdicts: Sequence[Kind | None]) -> str:
    counts = [f"{verdicts.count(kind)} {kind}" for kind in ("confirmed", "contradicted", "undecided")]
    told = f"Of {len(verdicts)} claims, real data or exact counts leave {', '.join(counts)}"
    return f"{told}; {verdicts.count(None)} have no such evidence yet."


def _notes(rows: Sequence[Mapping[str, str]]) -> list[str]:
    notes = [
        "several rows of one claim must agree: one contradicted contradicts it, one undecided leaves it open",
        "tests of methods are corrected (Holm) over all comparisons of the run that a row is of, as in its own report, "
        "and over those that the study adds; other rules over their own rows; nothing is corrected over claims or runs",
        "of studies in one folder of folders the newest of each study and preset counts; older ones are not looked at",
        "a run of no study is judged by the study's rule, at the margin that the run named, else the study's",
    ]
    missing = [row["evidence"] for row in rows if row["verdict"] == "not run"]
    return notes + ([f"to run what is missing: {'; '.join(dict.fromkeys(missing))}"] if missing else [])


def _data(one: Content) -> str:
    return f"{one['preset']}{', stand-in' if one['stand_in'] else ''}"


def _row(claim: Claim, one: Content, part: Part) -> dict[str, str]:
    late = " (margin named after results)" if one.get("margin_late") else ""
    return {
        "claim": claim["says"],
        "from": claim["origin"],
        "study": claim["study"],
        "data": _data(one),
        "margin": "" if one.get("margin") is None else f"{one['margin']:g}",
        "verdict": f"{part.kind}{late}",
        "evidence": part.told,
        "folder": str(one["folder"]),
    }


def _open(claim: Claim) -> dict[str, str]:
    """A claim without any evidence: what would test it."""
    name = claim.get("study", "")
    told = claim.get("command") or f"python -m harness study {name}"
    verdict = "not tested here" if "command" in claim else "not run"
    row = {"claim": claim["says"], "from": claim["origin"], "study": name, "data": "", "margin": "", "verdict": verdict}
    return row | {"evidence": told, "folder": ""}
