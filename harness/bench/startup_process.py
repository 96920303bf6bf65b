"""A fresh process of `bench startup`, called with `ours|baseline SPEC`; prints seconds of its parts as JSON."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from harness.bench.silence import silence_warnings

if TYPE_CHECKING:
    from harness.profiling.request import ProfileRequest


def import_harness() -> None:
    """Import what `harness run` has imported by its first step."""
    from harness.core.registry import load_all

    load_all()


def import_baseline() -> None:
    """Import what a script with peft and Trainer imports."""
    from peft import get_peft_model  # noqa: F401
    from transformers import AutoModelForSequenceClassification, Trainer  # noqa: F401


def build_harness_step(text: str) -> Callable[[], float]:
    """A function that plans, loads the model and takes one step of LoRA; it returns the seconds."""

    def take_step() -> float:
        from harness.bench.subjects import Case, CaseTimer

        started = time.perf_counter()
        question = _build_request(text)
        CaseTimer(Case(question, 1, False, question.cell.label), 2).take(1)
        return time.perf_counter() - started

    return take_step


def build_baseline_step(text: str) -> Callable[[], float]:
    """A function that loads the model, adds peft's LoRA and takes one step of Trainer; it returns the seconds.

    Planning is not timed: a script with peft does not have to plan.
    """
    from harness.bench.subjects import find_counterpart_on_cpu
    from harness.bench.trainer_step import add_adapter, build_hf_trainer, load_baseline

    question = _build_request(text)
    baseline = find_counterpart_on_cpu(question)

    def take_step() -> float:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            build_hf_trainer(
                add_adapter(load_baseline(baseline, question), baseline, question), question, 1, folder
            ).train()
        return time.perf_counter() - started

    return take_step


IMPLEMENTATIONS = {"ours": (import_harness, build_harness_step), "baseline": (import_baseline, build_baseline_step)}


def _build_request(text: str) -> ProfileRequest:
    from harness.bench.subjects import build_requests
    from harness.core.device import choose_device, choose_threads
    from harness.core.registry import load_all
    from harness.core.spec import Spec

    load_all()
    spec = Spec.model_validate_json(text)
    choose_threads(spec.threads)
    return build_requests(spec, choose_device(spec.device))[0][0]


def main(what: str, text: str) -> None:
    """Import, take the first step, and take it again: the difference of the two is paid once per process."""
    import_libraries, build_step = IMPLEMENTATIONS[what]
    with silence_warnings():
        started = time.perf_counter()
        import_libraries()
        imported = time.perf_counter() - started
        take_step = build_step(text)
        print(json.dumps({"imports": imported, "first_step": take_step(), "again": take_step()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
