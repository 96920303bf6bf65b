"""Time of a training step: each method, strategy and pack against Trainer's step of its counterpart, in rounds."""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from harness.bench.subjects import Case, Subject, cases, subject_of
from harness.bench.table import SPREAD, Bench, Panel, made_up, ratios, written
from harness.bench.usual import Rounds, Usual, timed
from harness.core.device import choose_device, choose_threads
from harness.core.failure import free_again
from harness.core.spec import Spec
from harness.profiling.ceiling import matmul_flops
from harness.profiling.knee import knee

BLOCK = {"cpu": 1, "cuda": 5}
"""Steps between two looks at the clock: on a GPU a loop runs ahead of the device."""
WARMUP = 4


@dataclasses.dataclass
class Race:
    """A rival and the subjects that took turns with it: seconds of a step, round by round."""

    usual: Usual
    rival: list[float]
    subjects: list[Subject]


def measure(spec: Spec, strategies: Sequence[str], packs: Sequence[int], repeats: int) -> Bench:
    """Every method of a spec, the strategies, and packs of its first method. Raises UserError."""
    threads, device = choose_threads(spec.threads), choose_device(spec.device)
    rounds = Rounds(repeats, BLOCK[device], WARMUP)
    planned, notes = cases(spec, strategies, packs, device)
    races: list[Race] = []
    for _, together in itertools.groupby(planned, key=lambda c: c.rival):
        races.append(_race(list(together), rounds, notes))
        free_again()  # AdaLoRA's Trainer refers to itself
    kind = torch.bfloat16 if spec.dtype[0] == "bf16" else torch.float32
    ceiling = matmul_flops(device, kind)
    packs_of = {s.k: float(np.median(s.seconds)) for r in races for s in r.subjects if s.packed}
    facts = made_up(spec, device, threads) | {
        "rounds": f"{repeats} of {rounds.block} steps",
        **SPREAD,
        "matmul ceiling": f"{ceiling / 1e12:.3g} TFLOP/s",
    }
    if packs_of:
        facts["knee"] = f"K = {knee(packs_of)}"
    if notes:
        facts["left out"] = "; ".join(notes)
    return Bench("step", facts, _rows(races, ceiling), _samples(races, ceiling), _panels(races, packs_of))


def _race(together: Sequence[Case], rounds: Rounds, notes: list[str]) -> Race:
    """One Trainer, and after each of its blocks one of every subject, in turn forwards and backwards."""
    found = [subject_of(case, rounds.steps, rounds.warmup, notes) for case in together]
    subjects = [s for s in found if s is not None]
    usual = subjects[0].counterpart()

    def between(number: int) -> None:
        for subject in subjects if number % 2 else reversed(subjects):
            subject.take(rounds.block)

    with tempfile.TemporaryDirectory() as folder:
        rival = timed(usual, together[0].question, rounds, folder, between)
    for subject in subjects:
        subject.release()
    return Race(usual, rival, subjects)


def _each(subject: Subject) -> list[float]:
    """Seconds of a step for one replica."""
    return [s / subject.k for s in subject.seconds]


def _speedup(race: Race, subject: Subject) -> tuple[float, float, float]:
    return ratios(race.rival, _each(subject))


def _baseline(race: Race) -> Subject | None:
    """LoRA alone, where it ran in the same rounds."""
    return next((s for s in race.subjects if s.name == "lora" and not s.packed), None)


def _rows(races: Sequence[Race], ceiling: float) -> list[dict[str, str]]:
    rows = []
    for race in races:
        middle = 1000 * float(np.median(race.rival))
        own = {"what": f"peft + Trainer: {race.usual.name}", "K": "1", "step": f"{middle:.2f} ms"}
        blank = ("Trainer's / ours (10 % to 90 %)", "time / lora's", "GFLOP/s", "of ceiling")
        if race.usual.config is None:
            own["what"] = "Trainer: full"
        rows.append(own | {"a replica": f"{middle:.2f} ms"} | dict.fromkeys(blank, ""))
        rows += [_row(race, subject, ceiling) for subject in race.subjects]
    return rows


def _name(subject: Subject) -> str:
    name = f"pack of {subject.name}" if subject.packed else subject.name
    return f"{name} (not captured)" if subject.fallback else name


def _row(race: Race, subject: Subject, ceiling: float) -> dict[str, str]:
    middle, base = float(np.median(subject.seconds)), _baseline(race)
    speed = subject.flops / middle
    return {
        "what": _name(subject),
        "K": str(subject.k),
        "step": f"{1000 * middle:.2f} ms",
        "a replica": f"{1000 * middle / subject.k:.2f} ms",
        "Trainer's / ours (10 % to 90 %)": written(_speedup(race, subject)),
        "time / lora's": written(ratios(_each(subject), base.seconds)) if base else "",
        "GFLOP/s": f"{speed / 1e9:.1f}",
        "of ceiling": f"{100 * speed / ceiling:.1f} %",
    }


def _samples(races: Sequence[Race], ceiling: float) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for race in races:
        made.append({"what": race.usual.name, "rival": None, "k": 1, "step_seconds": race.rival})
        made += [
            {
                "what": s.name,
                "rival": race.usual.name,
                "k": s.k,
                "packed": s.packed,
                "step_seconds": s.seconds,
                "flops": s.flops,
                "ceiling_flops": ceiling,
                "not_captured": s.fallback,
            }
            for s in race.subjects
        ]
    return made


def _panels(races: Sequence[Race], packs_of: Mapping[int, float]) -> list[Panel]:
    """`packs_of`: seconds of a step by size of the pack."""
    alone = [(r, s) for r in races for s in r.subjects if not s.packed]
    names = [f"{s.name} (Trainer: {r.usual.name})" for r, s in alone]
    low, middle, high = zip(*(_speedup(r, s) for r, s in alone), strict=True)
    made = [Panel("Trainer's step / ours", names, {"ratio": middle}, low, high, mark=1.0)]
    if len(packs_of) > 1:
        times = {"pack": [1000 * seconds / k for k, seconds in packs_of.items()]}
        made.append(Panel("ms per replica", [], times, mark=knee(packs_of), places=list(packs_of)))
    return made
