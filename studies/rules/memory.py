"""What each part of LoRA-SP saves of the memory of LoRA: the frozen half, quantization, recomputation."""

from __future__ import annotations

from dataclasses import dataclass

from harness.record import Profile
from studies.answer import Answer, Gathered, Part
from studies.study import Kind, Study

MIB = 2**20


@dataclass(frozen=True)
class Bytes:
    """Of one profile. `total`: on a GPU the allocated peak; else the stored backbone and the peak above it."""

    backbone: int
    state: int
    total: int


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
    found = {name: b for name, way in ways.items() if (b := measured(seen, *way))}
    lacking = [name for name in ways if name not in found]
    if lacking:
        return Answer("undecided", f"No profile of: {', '.join(lacking)}.", {}, _rows(found))
    threshold = float(o["threshold"])
    parts = shares(found, threshold)
    rest = "; ".join(f"{name} {part.kind}" for name, part in parts.items() if name != "together")
    sentence = f"{parts['together'].sentence} By part at a threshold of {100 * threshold:g} %: {rest}."
    return Answer(parts["together"].kind, sentence, parts, _rows(found), [*NOTES])


NOTES = (
    "Each memory figure is one measurement. Backbone and training state are counted exactly; the peak is measured.",
    "State: gradients and AdamW moments of all that trains, the head included.",
)


def measured(seen: Gathered, method: str, quantize: str, recompute: str) -> Bytes | None:
    """The bytes of one way to train; None where it has no profile."""
    asked = (method, quantize, recompute, "ok")
    for p in seen.profiles:
        if (p.method, p.quantize, p.recompute, p.status) == asked and p.train_state and p.peak_bytes:
            return _bytes(p)
    return None


def _bytes(profile: Profile) -> Bytes | None:
    s = profile.train_state
    if s is None or profile.peak_bytes is None or s.backbone is None:
        return None
    backbone = s.backbone + (s.quantization or 0)
    above = profile.peak_kind == "rss above loaded backbone"
    return Bytes(backbone, s.gradients + s.optimizer, profile.peak_bytes + (backbone if above else 0))


def shares(found: dict[str, Bytes], threshold: float) -> dict[str, Part]:
    """The parts' savings over the whole of LoRA; the exact counts for the half and for quantization."""
    whole = found["lora"].total
    half = found["half frozen"]
    saved = {
        "half frozen": found["lora"].state - half.state,
        "quantization": half.backbone - found["half frozen, quantized"].backbone,
        "recomputation": half.total - found["half frozen, recomputed"].total,
        "together": whole - found["all three"].total,
    }
    return {name: _part(name, count, whole, threshold) for name, count in saved.items()}


def _part(name: str, count: int, whole: int, threshold: float) -> Part:
    kind: Kind = "confirmed" if count / whole >= threshold else "contradicted"
    verb = "The three save" if name == "together" else f"{name.capitalize()} saves"
    return Part(kind, f"{verb} {count / MIB:.2f} of {whole / MIB:.1f} MiB ({100 * count / whole:.1f} %).")


def _rows(found: dict[str, Bytes]) -> list[dict[str, str]]:
    whole = found["lora"].total if "lora" in found else None
    return [
        {
            "way": name,
            "backbone MiB": f"{b.backbone / MIB:.2f}",
            "state MiB": f"{b.state / MIB:.3f}",
            "total MiB": f"{b.total / MIB:.2f}",
            "saved of lora's": "" if not whole else f"{100 * (whole - b.total) / whole:.1f} %",
        }
        for name, b in found.items()
    ]
