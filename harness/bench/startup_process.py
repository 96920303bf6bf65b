"""A fresh process of `bench startup`: `WHAT SPEC`, ours or Trainer's; prints the seconds of its parts as JSON."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from harness.bench.silence import silenced

if TYPE_CHECKING:
    from harness.profiling.request import Question


def import_ours() -> None:
    """What `harness run` has imported by its first step."""
    from harness.core.registry import load_all

    load_all()


def import_the_rival() -> None:
    """What a script with peft and Trainer imports."""
    from peft import get_peft_model  # noqa: F401
    from transformers import AutoModelForSequenceClassification, Trainer  # noqa: F401


def step_of_ours(text: str) -> Callable[[], float]:
    """Plan, load the model, take the first step of LoRA, and tell the seconds."""

    def taken() -> float:
        from harness.bench.subjects import Case, Subject

        started = time.perf_counter()
        question = _question(text)
        Subject(Case(question, 1, False, question.cell.label), 2).take(1)
        return time.perf_counter() - started

    return taken


def step_of_the_rival(text: str) -> Callable[[], float]:
    """Load the model, put peft's LoRA in, and take Trainer's first step; what to train is told it for nothing."""
    from harness.bench.subjects import counterpart_on_cpu
    from harness.bench.usual import adapted, loaded, trainer_of

    question = _question(text)
    usual = counterpart_on_cpu(question)

    def taken() -> float:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            trainer_of(adapted(loaded(usual, question), usual, question), question, 1, folder).train()
        return time.perf_counter() - started

    return taken


WAYS = {"ours": (import_ours, step_of_ours), "rival": (import_the_rival, step_of_the_rival)}


def _question(text: str) -> Question:
    from harness.bench.subjects import asked_of
    from harness.core.device import choose_device, choose_threads
    from harness.core.registry import load_all
    from harness.core.spec import Spec

    load_all()
    spec = Spec.model_validate_json(text)
    choose_threads(spec.threads)
    return asked_of(spec, choose_device(spec.device))[0][0]


def main(what: str, text: str) -> None:
    """Import, take the first step, and the same again: what that takes less was paid once."""
    imports, step = WAYS[what]
    with silenced():
        started = time.perf_counter()
        imports()
        imported = time.perf_counter() - started
        taken = step(text)
        print(json.dumps({"imports": imported, "first_step": taken(), "again": taken()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
