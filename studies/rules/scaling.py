"""What freezing half saves as models grow: counted exactly on large shapes, measured on small ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.core.profile import Profile
from harness.core.text import format_bytes
from studies import counting
from studies.answer import Answer, Part, StudyRuns, merge_verdicts
from studies.study import Kind, Study

GIB = 2**30


def judge(study: Study, seen: StudyRuns) -> Answer:
    """Options: `shapes` (name -> suite), `target`, `rank`, `memories` (GiB), `threshold` (share that counts)."""
    o = study.options
    counts = {shape: _count_shape(shape, suite, o) for shape, suite in o["shapes"].items()}
    parts = {shape: _judge_shape(shape, c, float(o["threshold"])) for shape, c in counts.items()}
    kind = merge_verdicts(p.kind for p in parts.values())
    rows = [_build_row(shape, c, o["memories"]) for shape, c in counts.items()] + [
        _build_measured_row(p) for p in seen.profiles
    ]
    notes = [
        "counted: weights (embeddings and head in bf16), LoRA's pairs with gradients and both AdamW moments (float32);"
        " activations, buffers and training of the head are excluded, so the smallest memory is a lower bound",
        "measured: peak of a method profiled in isolation with random weights, one measurement each",
    ]
    return Answer(kind, " ".join(p.sentence for p in parts.values()), parts, rows, notes, exact=True)


def _count_shape(shape: str, suite: str, o: Mapping[str, object]) -> dict[str, int]:
    target, rank = str(o["target"]).split("+"), int(str(o["rank"]))
    whole, half = (counting.count_trained(shape, suite, target, rank, ratio) for ratio in (1.0, 0.5))
    weights = counting.count_weights(shape, suite)
    return {"lora": whole, "lorasp": half, "numbers": weights.numbers, "bf16": weights.bf16, "nf4": weights.nf4}


def compute_saved_share(counted: Mapping[str, int], level: str) -> float:
    """Share of the bytes of weights, pairs, gradients and moments that freezing half saves."""
    saved = counting.count_state_bytes(counted["lora"]) - counting.count_state_bytes(counted["lorasp"])
    return saved / _sum_bytes(counted, level, "lora")


def _sum_bytes(counted: Mapping[str, int], level: str, method: str) -> int:
    # Frozen entries stay stored, so both methods hold the whole pair; only gradients and moments shrink.
    pairs = counting.FLOAT * counted["lora"]
    return counted[level] + pairs + counting.count_state_bytes(counted[method])


def _judge_shape(shape: str, counted: Mapping[str, int], threshold: float) -> Part:
    bf16, nf4 = (compute_saved_share(counted, level) for level in ("bf16", "nf4"))
    # Both precisions must agree: halving saves a larger share of a quantized model.
    kind: Kind = (
        "confirmed" if min(bf16, nf4) >= threshold else "contradicted" if max(bf16, nf4) < threshold else "undecided"
    )
    return Part(
        kind, f"On {shape} freezing half saves {100 * bf16:.2f} % of the bytes in bf16, {100 * nf4:.2f} % in nf4."
    )


def _build_row(shape: str, counted: Mapping[str, int], memories: Sequence[int]) -> dict[str, str]:
    saved = counting.count_state_bytes(counted["lora"]) - counting.count_state_bytes(counted["lorasp"])
    row = {
        "shape": shape,
        "method": "lora / lorasp",
        "trained": f"{counted['lora']:,} / {counted['lorasp']:,}",
        "gradients and moments GiB": " / ".join(
            f"{counting.count_state_bytes(counted[m]) / GIB:.3f}" for m in ("lora", "lorasp")
        ),
        "weights GiB, bf16 / nf4": f"{counted['bf16'] / GIB:.1f} / {counted['nf4'] / GIB:.1f}",
        "saved by half": format_bytes(saved),
    }
    smallest = [_find_smallest_memory(_sum_bytes(counted, dtype, "lorasp"), memories) for dtype in ("bf16", "nf4")]
    row["smallest memory, bf16 / nf4"] = " / ".join(smallest)
    return row


def _find_smallest_memory(count: int, memories: Sequence[int]) -> str:
    """The smallest of these memories (GiB) that holds so many bytes."""
    sufficient = [memory for memory in memories if count <= memory * GIB]
    return f"{min(sufficient)} GiB" if sufficient else "none"


def _build_measured_row(profile: Profile) -> dict[str, str]:
    state, peak = profile.train_state, profile.peak_bytes
    return {
        "shape": profile.model,
        "method": f"{profile.method}, measured",
        "trained": "",
        "gradients and moments GiB": "" if state is None else f"{(state.gradients + state.optimizer) / GIB:.4f}",
        "weights GiB, bf16 / nf4": "",
        "saved by half": "",
        "smallest memory, bf16 / nf4": profile.status if peak is None else f"peak {format_bytes(peak)}",
    }
