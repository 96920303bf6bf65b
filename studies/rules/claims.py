"""Each claim of the paper, judged by stored studies and runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from studies.answer import Answer, Part, StudyRuns, merge_verdicts
from studies.study import Kind, Study

Claim = Mapping[str, Any]
Content = Mapping[str, Any]


def judge(study: Study, seen: StudyRuns) -> Answer:
    """Options: `claims`, each with `says`, `origin`, and `study`, or a `command` that would test it.

    `part`: the part of the study that decides; `suite`: only runs of that suite count.
    """
    claims = study.options["claims"]
    parts: dict[str, Part] = {}
    rows: list[dict[str, str]] = []
    real: dict[str, list[Kind]] = {}
    for claim in claims:
        evidence: list[tuple[Content, Part]] = []
        for content in select_contents(claim, seen):
            if part := get_part(content, claim.get("part")):
                evidence.append((content, part))
        rows += [_build_row(claim, one, part) for one, part in evidence] or [_build_open_row(claim)]
        parts |= {f"{claim['says']} ({_format_data(one, part)}, {one['folder']})": part for one, part in evidence}
        # Synthetic data appears as evidence, but only real data and exact counts decide.
        kinds = [part.kind for one, part in evidence if part.exact or not one["stand_in"]]
        # several entries of one claim are evidence of the same claim
        real.setdefault(claim["says"], []).extend(kinds)
    verdicts = [merge_verdicts(kinds) if kinds else None for kinds in real.values()]
    # Not `merge_verdicts`: a claim without evidence (None) also leaves the whole undecided.
    kind: Kind = "contradicted" if "contradicted" in verdicts else "undecided"
    kind = "confirmed" if set(verdicts) == {"confirmed"} else kind
    return Answer(kind, _format_sentence(verdicts), parts, rows, _list_notes(rows))


def select_contents(claim: Claim, seen: StudyRuns) -> Sequence[Content]:
    """Answers of the claim's study; only those of the claim's suite where it names one."""
    # Such a claim needs data or a model that no declared study has; its row shows a command.
    if "study" not in claim:
        return ()
    return seen.stored.get(f"{claim['study']}/{claim['suite']}" if "suite" in claim else claim["study"], ())


def get_part(one: Content, name: str | None) -> Part | None:
    """The verdict of a study, or of one of its parts; None where there is none."""
    if name is None:
        # A plain run was not made for this study, so what it lacks is no evidence, not even of an open question.
        if one.get("lacks") and one.get("plain"):
            return None
        return Part(one["kind"], one["sentence"])
    part = one["parts"].get(name)
    return None if part is None else Part(**part)


def _format_sentence(verdicts: Sequence[Kind | None]) -> str:
    counts = [f"{verdicts.count(kind)} {kind}" for kind in ("confirmed", "contradicted", "undecided")]
    summary = f"Of {len(verdicts)} claims, real data or exact counts leave {', '.join(counts)}"
    return f"{summary}; {verdicts.count(None)} have no such evidence yet."


def _list_notes(rows: Sequence[Mapping[str, str]]) -> list[str]:
    notes = [
        "several rows of one claim: one contradicted contradicts it; otherwise one undecided leaves it undecided",
        "tests of methods are corrected (Holm) over all comparisons of the run that a row is of and over those that "
        "the study adds; other rules correct over their own rows; nothing is corrected over claims or runs",
        "in a folder of studies only the newest of each study, preset and backbone counts",
        "a run of no study is judged by the study's rule, at the margin that the run named, else at the study's margin",
    ]
    # The same study may be missing for several claims, so its command is listed once.
    missing = [row["evidence"] for row in rows if row["verdict"] == "not run"]
    return notes + ([f"to run the missing studies: {'; '.join(dict.fromkeys(missing))}"] if missing else [])


def _format_data(one: Content, part: Part) -> str:
    if part.exact:
        return "exact"
    return f"{one['preset']}{', synthetic' if one['stand_in'] else ''}"


def _build_row(claim: Claim, one: Content, part: Part) -> dict[str, str]:
    late = " (post hoc margin)" if one.get("margin_late") else ""
    return {
        "claim": claim["says"],
        "from": claim["origin"],
        "study": claim["study"],
        "data": _format_data(one, part),
        "margin": "" if one.get("margin") is None else f"{one['margin']:g}",
        "verdict": f"{part.kind}{late}",
        "evidence": part.summary,
        "folder": str(one["folder"]),
    }


def _build_open_row(claim: Claim) -> dict[str, str]:
    """A claim without evidence: the command that would test it."""
    name = claim.get("study", "")
    command = claim.get("command") or f"python -m harness study {name}"
    verdict = "not tested here" if "command" in claim else "not run"
    row = {"claim": claim["says"], "from": claim["origin"], "study": name, "data": "", "margin": "", "verdict": verdict}
    return row | {"evidence": command, "folder": ""}
