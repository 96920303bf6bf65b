"""Which choice of modules, rank and share gives the paper's number of trainable parameters."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from studies import counting
from studies.answer import Answer, Part, StudyRuns
from studies.study import Kind, Study


@dataclass(frozen=True)
class Choice:
    """One way to count: target modules, rank and share of the entries."""

    target: str
    rank: int
    ratio: float
    trained: int

    @property
    def description(self) -> str:
        return f"{self.target} at rank {self.rank}, {'half' if self.ratio == 0.5 else 'all'} of the entries"


def judge(study: Study, seen: StudyRuns) -> Answer:
    """Options: `shape`, `suite`, `targets` (as of a method), `ranks`, `ratios`, `told`, `tolerance` (a share).

    `told` is the number that the paper reports.
    """
    o = study.options
    choices = [
        Choice(t, r, share, counting.count_trained(o["shape"], o["suite"], t.split("+"), r, share))
        for t, r, share in itertools.product(o["targets"], o["ranks"], o["ratios"])
    ]
    head = counting.count_head(o["shape"], o["suite"])
    part = judge_choices(choices, int(o["told"]), float(o["tolerance"]), head)
    rows = [_build_row(c, int(o["told"]), head) for c in choices]
    notes = [f"counted on {o['shape']} without weights; the head ({head:,} parameters) is excluded"]
    return Answer(part.kind, part.sentence, {"trained parameters": part, "half": judge_halving(choices)}, rows, notes)


def judge_halving(choices: Sequence[Choice]) -> Part:
    """Whether half of the entries are half of LoRA's trainable parameters, for each choice of modules and rank."""
    by = {(c.target, c.rank, c.ratio): c.trained for c in choices}
    pairs = [(n, by[t, r, 0.5]) for (t, r, ratio), n in by.items() if ratio == 1.0 and (t, r, 0.5) in by]
    exact = sum(2 * half == whole for whole, half in pairs)
    kind: Kind = "undecided" if not pairs else "confirmed" if exact == len(pairs) else "contradicted"
    return Part(
        kind, f"Half of the entries are half of LoRA's trainable parameters in {exact} of {len(pairs)} choices."
    )


def judge_choices(choices: Sequence[Choice], reported: int, tolerance: float, head: int) -> Part:
    """Confirmed where a choice with half of the entries comes within the tolerance of the reported number."""
    # Only halves: the paper's number is that of LoRA-SP.
    halves = [c for c in choices if c.ratio == 0.5]
    near = min(halves, key=lambda c: abs(c.trained - reported))
    # The paper rounds to 0.45M, so an exact match cannot be asked for.
    kind: Kind = "confirmed" if abs(near.trained - reported) <= tolerance * reported else "contradicted"
    off = 100 * (near.trained - reported) / reported
    same = [c.description for c in choices if c.trained == near.trained and c != near]
    sentence = f"Nearest to {reported:,}: {near.description}, {near.trained:,} ({off:+.1f} %)"
    sentence += f"; the same number: {'; '.join(same)}" if same else ""
    # Counting the head would be another reading of the number; it is larger than the adapter.
    fits = [c for c in halves if abs(c.trained + head - reported) <= tolerance * reported]
    with_head = "one choice fits" if fits else "no choice fits"
    return Part(kind, f"{sentence}. With the head included, {with_head}.")


def _build_row(choice: Choice, reported: int, head: int) -> dict[str, str]:
    return {
        "modules": choice.target,
        "rank": str(choice.rank),
        "entries": "half" if choice.ratio == 0.5 else "all",
        "trained": f"{choice.trained:,}",
        "of the paper's number": f"{100 * choice.trained / reported:.1f} %",
        "with the head": f"{choice.trained + head:,}",
    }
