"""Each claim of the paper and what the stored studies say of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studies.answer import Answer, Gathered, Part
from studies.study import Kind, Study

FILE = "study.json"


def answer(study: Study, seen: Gathered) -> Answer:
    """Options: `claims`, each with `says`, `study` and, where one part of the study decides, `part`."""
    stored = read(seen.root or Path())
    parts: dict[str, Part] = {}
    rows, absent = [], []
    for claim in study.options["claims"]:
        found = stored.get(claim["study"], [])
        if not found:
            absent.append(claim["study"])
            rows.append(_row(claim, None, None))
        for one in found:
            part = part_of(one, claim.get("part"))
            name = f"{claim['says']} ({one['preset']})"
            parts[name] = part
            rows.append(_row(claim, one, part))
    missing = list(dict.fromkeys(absent))
    kind: Kind = "undecided" if missing else overall(list(stored.values()), parts)
    return Answer(kind, _sentence(parts, missing), parts, rows, [_how(missing)] if missing else [])


def read(root: Path) -> dict[str, list[dict[str, Any]]]:
    """Study -> what its runs under a folder wrote, the newest of each preset; files that do not read are left out."""
    found: dict[str, dict[str, tuple[float, dict[str, Any]]]] = {}
    for path in sorted(root.glob(f"*/{FILE}")):
        try:
            content = json.loads(path.read_text())
            name, preset = content["study"], content["preset"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        stamp = path.stat().st_mtime
        known = found.setdefault(name, {})
        if preset not in known or known[preset][0] < stamp:
            known[preset] = (stamp, content | {"folder": str(path.parent)})
    return {name: [content for _, content in by.values()] for name, by in found.items()}


def part_of(stored: Mapping[str, Any], name: str | None) -> Part:
    """The verdict of a study, or of one of its parts; undecided where it has no such part."""
    if name is None:
        return Part(stored["kind"], stored["sentence"])
    part = stored["parts"].get(name)
    return Part(part["kind"], part["sentence"]) if part else Part("undecided", f"The study has no part '{name}'.")


def overall(stored: Sequence[Sequence[Mapping[str, Any]]], parts: Mapping[str, Part]) -> Kind:
    """A verdict on the whole paper needs real data for every claim: with stand-ins among them it stays open."""
    if any(one.get("stand_in") for runs in stored for one in runs):
        return "undecided"
    kinds = {p.kind for p in parts.values()}
    return "contradicted" if "contradicted" in kinds else "confirmed" if kinds == {"confirmed"} else "undecided"


def _sentence(parts: Mapping[str, Part], missing: Sequence[str]) -> str:
    count = {kind: sum(p.kind == kind for p in parts.values()) for kind in ("confirmed", "contradicted", "undecided")}
    told = ", ".join(f"{n} {kind}" for kind, n in count.items())
    lacking = f" Not run yet: {', '.join(missing)}." if missing else ""
    return f"Verdicts on claims, one a preset that was run: {told}.{lacking}"


def _how(missing: Sequence[str]) -> str:
    return "to run what is missing: " + "; ".join(f"python -m harness study {name}" for name in missing)


def _row(claim: Mapping[str, Any], one: Mapping[str, Any] | None, part: Part | None) -> dict[str, str]:
    evidence = f"python -m harness study {claim['study']}"
    data = ""
    if one is not None:
        data = f"{one['preset']}{', stand-in' if one['stand_in'] else ''}"
    return {
        "claim": claim["says"],
        "from": claim["origin"],
        "study": claim["study"],
        "data": data,
        "verdict": part.kind if part else "not run",
        "evidence": part.sentence if part else evidence,
        "folder": str(one["folder"]) if one else "",
    }
