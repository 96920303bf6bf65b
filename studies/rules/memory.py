"""What each part of LoRA-SP saves of LoRA's memory: the frozen half, quantization, activation checkpointing.

lora -> half frozen                                   state: gradients, moments, adapter
half frozen -> half frozen, quantized                 backbone
half frozen -> half frozen, recomputed                total, as activations are only part of the peak
lora -> all three                                     total
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from harness.core.profile import Profile
from harness.core.text import format_bytes
from reports.statistics.savings import STATE_PARTS, sum_state_bytes
from studies.answer import Answer, Part, StudyRuns
from studies.study import Kind, Study

MIB = 2**20
SPEED = "speed"
MIN_STEPS = 8
"""Minimum number of step times: quartiles of fewer say little."""
PROCESS_SPREAD = 0.03
"""Share of a step's time by which two profiles of one cell on one machine may differ."""
SPEED_PHRASES: Mapping[Kind, str] = {
    "confirmed": "it is faster by more than",
    "contradicted": "it is not faster by",
    "undecided": "it may or may not be faster by",
}


@dataclass(frozen=True)
class ProfileMemory:
    """Bytes of one profile. `total`: on a GPU the allocated peak, else the stored backbone plus the peak above it.

    `backbone` is None where the profile does not record it. `frozen`: whether `state` includes the frozen entries,
    which profiles of earlier versions do not record.
    """

    backbone: int | None
    state: int
    total: int
    frozen: bool


def judge(study: Study, seen: StudyRuns) -> Answer:
    """Options: `subject` and `against` (methods), `quantize`, `recompute`, `threshold` (share that counts as large)."""
    o = study.options
    ways = {
        "lora": (o["against"], "none", "none"),
        "half frozen": (o["subject"], "none", "none"),
        "half frozen, quantized": (o["subject"], o["quantize"], "none"),
        "half frozen, recomputed": (o["subject"], "none", o["recompute"]),
        "all three": (o["subject"], o["quantize"], o["recompute"]),
    }
    profiles = {name: p for name, way in ways.items() if (p := find_profile(seen, *way))}
    memory_by_way = {name: b for name, p in profiles.items() if (b := _count_bytes(p))}
    threshold = float(o["threshold"])
    parts = judge_shares(memory_by_way, threshold) | judge_speed(profiles.get("lora"), profiles.get("half frozen"))
    # Parts are judged as far as profiles allow; the whole needs all five.
    if lacking := [name for name in ways if name not in memory_by_way]:
        lacks = f"profiles of {', '.join(lacking)}"
        sentences = " ".join(p.sentence for p in parts.values())
        return Answer(
            "undecided",
            f"No verdict yet; missing: {lacks}. {sentences}".strip(),
            parts,
            _build_rows(memory_by_way),
            [*NOTES],
            lacks,
        )
    part_verdicts = "; ".join(f"{name} {part.kind}" for name, part in parts.items() if name not in ("together", SPEED))
    sentence = f"{parts['together'].sentence} By part at a threshold of {100 * threshold:g} %: {part_verdicts}."
    return Answer(parts["together"].kind, sentence, parts, _build_rows(memory_by_way), [*NOTES])


NOTES = (
    "Each memory figure is one measurement. Backbone and training state are counted exactly; the peak is measured.",
    f"State: {STATE_PARTS}, of all that trains, the head included.",
)


def find_profile(seen: StudyRuns, method: str, quantize: str, recompute: str) -> Profile | None:
    """The profile of one setting; None where there is none with the model and batch of most profiles."""
    # Shares are comparable only at one model, device and batch; a run may have profiled several.
    candidates = [p for p in seen.profiles if p.status == "ok" and p.train_state and p.peak_bytes]
    # The most frequent shape is that of the study; others come from a resumed run with other flags.
    shapes = [_get_shape(p) for p in candidates]
    setting = (method, quantize, recompute, max(shapes, key=shapes.count, default=()))
    return next((p for p in candidates if (p.method, p.quantize, p.recompute, _get_shape(p)) == setting), None)


def _get_shape(p: Profile) -> tuple[object, ...]:
    return p.model_revision, p.dtype, p.device, p.batch_size, p.length


def _count_bytes(profile: Profile) -> ProfileMemory | None:
    s, peak = profile.train_state, profile.peak_bytes
    if s is None or peak is None:
        return None
    # Earlier profiles lack the frozen entries; without them the saving is an upper bound.
    full_state = sum_state_bytes(s)
    state = sum_state_bytes(s, 0) if full_state is None else full_state
    assert state is not None
    backbone = None if s.backbone is None else s.backbone + (s.quantization or 0)
    if profile.peak_kind == "rss above loaded backbone":
        return None if backbone is None else ProfileMemory(backbone, state, peak + backbone, full_state is not None)
    return ProfileMemory(backbone, state, peak, full_state is not None)


def judge_shares(found: Mapping[str, ProfileMemory], threshold: float) -> dict[str, Part]:
    """The parts' savings as shares of LoRA's total, as far as profiles allow; those of half and backbone are exact."""
    differences = {
        "half frozen": ("lora", "half frozen", "state"),
        "quantization": ("half frozen", "half frozen, quantized", "backbone"),
        "recomputation": ("half frozen", "half frozen, recomputed", "total"),
        "together": ("lora", "all three", "total"),
    }
    parts = {}
    for name, (a, b, of) in differences.items():
        if not {a, b, "lora"} <= set(found) or None in (getattr(found[a], of), getattr(found[b], of)):
            continue
        is_recorded = of != "state" or (found[a].frozen and found[b].frozen)
        saved = getattr(found[a], of) - getattr(found[b], of)
        part = _judge_share(name, saved, found["lora"].total, threshold, is_recorded)
        parts[name] = part if of == "total" else _mark_exact(part, saved, found["lora"], threshold)
    return parts


def _mark_exact(part: Part, saved: int, lora: ProfileMemory, threshold: float) -> Part:
    """A share that is too small even of what LoRA stores between two steps: the peak can only lower it."""
    stored = None if lora.backbone is None else lora.backbone + lora.state
    if part.kind != "contradicted" or stored is None or saved >= threshold * stored:
        return part
    share = f"Of weights and training state alone, both counted exactly, it is {100 * saved / stored:.1f} %."
    return dataclasses.replace(part, sentence=f"{part.sentence} {share}", exact=True)


def judge_speed(lora: Profile | None, half: Profile | None) -> dict[str, Part]:
    """Whether a step is faster by more than two processes may differ, judged by the quartiles of the step times."""
    if lora is None or half is None or min(len(p.step_seconds) for p in (lora, half)) < MIN_STEPS:
        return {}
    (a, low, high), (b, own_low, own_high) = _compute_quartiles(lora), _compute_quartiles(half)
    kind: Kind = "undecided"
    # Whole quartile ranges and not medians, because the steps of one process are no independent samples.
    if own_high < (1 - PROCESS_SPREAD) * low:
        kind = "confirmed"
    elif own_low >= (1 - PROCESS_SPREAD) * high:
        kind = "contradicted"
    sentence = (
        f"With half of the entries frozen a step was {a / b:.2f}\N{MULTIPLICATION SIGN} as fast as LoRA's, each in one"
        f" process (medians {1000 * b:.3g} and {1000 * a:.3g} ms). By the quartiles of the step times"
        f" {SPEED_PHRASES[kind]} {100 * PROCESS_SPREAD:g} %, by which two processes may differ."
    )
    return {SPEED: Part(kind, sentence)}


def _compute_quartiles(profile: Profile) -> tuple[float, float, float]:
    """Median, lower and upper quartile of the step times."""
    low, middle, high = statistics.quantiles(profile.step_seconds, n=4, method="inclusive")
    return middle, low, high


def _judge_share(name: str, count: int, whole: int, threshold: float, exact: bool) -> Part:
    """The verdict on one saving. Unless `exact`, frozen entries were not recorded and the saving is an upper bound."""
    # An upper bound can show that a saving is small, but not that it is large.
    large = count / whole >= threshold
    kind: Kind = ("confirmed" if exact else "undecided") if large else "contradicted"
    verb = "The three save" if name == "together" else f"{name.capitalize()} saves"
    verb += "" if exact else ", frozen adapter entries and index maps not recorded, at most"
    return Part(kind, f"{verb} {format_bytes(count)} of {format_bytes(whole)} ({100 * count / whole:.1f} %).")


def _build_rows(found: Mapping[str, ProfileMemory]) -> list[dict[str, str]]:
    whole = found["lora"].total if "lora" in found else None
    return [
        {
            "setting": name,
            "backbone MiB": "" if b.backbone is None else f"{b.backbone / MIB:.2f}",
            "state MiB": f"{b.state / MIB:.3f}",
            "total MiB": f"{b.total / MIB:.2f}",
            "saved of lora's": "" if not whole else f"{100 * (whole - b.total) / whole:.1f} %",
        }
        for name, b in found.items()
    ]
