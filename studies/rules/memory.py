"""What each part of LoRA-SP saves of the memory of LoRA: the frozen half, quantization, recomputation."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from harness.core.record import Profile
from reports.statistics.savings import STATE_PARTS, state_bytes
from studies.answer import Answer, Gathered, Part
from studies.study import Kind, Study

MIB = 2**20
SPEED = "speed"
FEWEST_STEPS = 8
"""Of fewer step times quartiles say little."""
BETWEEN_PROCESSES = 0.03
"""Share of a step's time: the most that two profiles of one cell on one machine should lie apart."""
FASTER: Mapping[Kind, str] = {
    "confirmed": "are faster by more than",
    "contradicted": "are not faster by",
    "undecided": "are on both sides of a gain of",
}


@dataclass(frozen=True)
class Bytes:
    """Of one profile. `total`: on a GPU the allocated peak; else the stored backbone and the peak above it.

    `backbone` is None where the profile does not record it. `frozen`: whether `state` has the frozen entries in it,
    which profiles of earlier versions do not record.
    """

    backbone: int | None
    state: int
    total: int
    frozen: bool


def answer(study: Study, seen: Gathered) -> Answer:
    """Options: `subject` and `against` (methods), `quantize`, `recompute`, `threshold` (share that counts as large)."""
    o = study.options
    ways = {
        "lora": (o["against"], "none", "none"),
        "half frozen": (o["subject"], "none", "none"),
        "half frozen, quantized": (o["subject"], o["quantize"], "none"),
        "half frozen, recomputed": (o["subject"], "none", o["recompute"]),
        "all three": (o["subject"], o["quantize"], o["recompute"]),
    }
    profiles = {name: p for name, way in ways.items() if (p := measured(seen, *way))}
    found = {name: b for name, p in profiles.items() if (b := _bytes(p))}
    threshold = float(o["threshold"])
    parts = shares(found, threshold) | speed(profiles.get("lora"), profiles.get("half frozen"))
    if lacking := [name for name in ways if name not in found]:
        lacks = f"profiles of {', '.join(lacking)}"
        known = " ".join(p.sentence for p in parts.values())
        return Answer("undecided", f"It lacks {lacks}. {known}".strip(), parts, _rows(found), [*NOTES], lacks)
    rest = "; ".join(f"{name} {part.kind}" for name, part in parts.items() if name not in ("together", SPEED))
    sentence = f"{parts['together'].sentence} By part at a threshold of {100 * threshold:g} %: {rest}."
    return Answer(parts["together"].kind, sentence, parts, _rows(found), [*NOTES])


NOTES = (
    "Each memory figure is one measurement. Backbone and training state are counted exactly; the peak is measured.",
    f"State: {STATE_PARTS}, of all that trains, the head included.",
)


def measured(seen: Gathered, method: str, quantize: str, recompute: str) -> Profile | None:
    """The profile of one way to train; None where there is none of the model and batch that most profiles are of."""
    fit = [p for p in seen.profiles if p.status == "ok" and p.train_state and p.peak_bytes]
    shapes = [_shape(p) for p in fit]
    asked = (method, quantize, recompute, max(shapes, key=shapes.count, default=()))
    return next((p for p in fit if (p.method, p.quantize, p.recompute, _shape(p)) == asked), None)


def _shape(p: Profile) -> tuple[object, ...]:
    return p.model_revision, p.dtype, p.device, p.batch_size, p.length


def _bytes(profile: Profile) -> Bytes | None:
    s, peak = profile.train_state, profile.peak_bytes
    if s is None or peak is None:
        return None
    known = state_bytes(s)
    state = state_bytes(s, 0) if known is None else known
    assert state is not None
    backbone = None if s.backbone is None else s.backbone + (s.quantization or 0)
    if profile.peak_kind == "rss above loaded backbone":
        return None if backbone is None else Bytes(backbone, state, peak + backbone, known is not None)
    return Bytes(backbone, state, peak, known is not None)


def shares(found: Mapping[str, Bytes], threshold: float) -> dict[str, Part]:
    """What can be told of the parts' savings over the whole of LoRA; exact counts for the half and for quantization."""
    asked = {
        "half frozen": ("lora", "half frozen", "state"),
        "quantization": ("half frozen", "half frozen, quantized", "backbone"),
        "recomputation": ("half frozen", "half frozen, recomputed", "total"),
        "together": ("lora", "all three", "total"),
    }
    return {
        name: _part(
            name,
            getattr(found[a], of) - getattr(found[b], of),
            found["lora"].total,
            threshold,
            of != "state" or (found[a].frozen and found[b].frozen),
        )
        for name, (a, b, of) in asked.items()
        if {a, b, "lora"} <= set(found) and None not in (getattr(found[a], of), getattr(found[b], of))
    }


def speed(lora: Profile | None, half: Profile | None) -> dict[str, Part]:
    """Whether a step got faster, by the middle halves of the step times, by more than two processes may differ."""
    if lora is None or half is None or min(len(p.step_seconds) for p in (lora, half)) < FEWEST_STEPS:
        return {}
    (a, low, high), (b, own_low, own_high) = _quartiles(lora), _quartiles(half)
    kind: Kind = "undecided"
    if own_high < (1 - BETWEEN_PROCESSES) * low:
        kind = "confirmed"
    elif own_low >= (1 - BETWEEN_PROCESSES) * high:
        kind = "contradicted"
    told = (
        f"In one process each, half frozen ran at {a / b:.2f} of LoRA's speed (median step {1000 * b:.3g} against "
        f"{1000 * a:.3g} ms; the middle halves of the steps {FASTER[kind]} {100 * BETWEEN_PROCESSES:g} %, by which two "
        "processes may differ)."
    )
    return {SPEED: Part(kind, told)}


def _quartiles(profile: Profile) -> tuple[float, float, float]:
    """Median, lower and upper quartile of the step times."""
    low, middle, high = statistics.quantiles(profile.step_seconds, n=4, method="inclusive")
    return middle, low, high


def _part(name: str, count: int, whole: int, threshold: float, exact: bool) -> Part:
    """`exact`: else frozen entries and index maps were not recorded, so the saving is an upper bound."""
    large = count / whole >= threshold
    kind: Kind = ("confirmed" if exact else "undecided") if large else "contradicted"
    verb = "The three save" if name == "together" else f"{name.capitalize()} saves"
    verb += "" if exact else ", frozen adapter entries and index maps not recorded, at most"
    return Part(kind, f"{verb} {count / MIB:.2f} of {whole / MIB:.1f} MiB ({100 * count / whole:.1f} %).")


def _rows(found: Mapping[str, Bytes]) -> list[dict[str, str]]:
    whole = found["lora"].total if "lora" in found else None
    return [
        {
            "way": name,
            "backbone MiB": "" if b.backbone is None else f"{b.backbone / MIB:.2f}",
            "state MiB": f"{b.state / MIB:.3f}",
            "total MiB": f"{b.total / MIB:.2f}",
            "saved of lora's": "" if not whole else f"{100 * (whole - b.total) / whole:.1f} %",
        }
        for name, b in found.items()
    ]
