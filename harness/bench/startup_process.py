"""A fresh process of `bench startup`: what it imports and its first step, with the seconds of each as JSON.

`python harness/bench/startup_process.py WHAT SPEC` from any folder: ours, or Trainer's. Nothing is imported before
the clock runs.
"""

import time

STARTED = time.perf_counter()

import json  # noqa: E402
import sys  # noqa: E402
from typing import Any  # noqa: E402


def imports_of_ours() -> None:
    """What `harness run` has imported by its first step."""
    import harness.packrun
    import harness.run
    from harness.registry import load_all

    load_all()
    assert harness.run.run and harness.packrun.run_pack


def imports_of_the_rival() -> None:
    """What a script with peft and Trainer imports."""
    import peft
    import transformers

    assert peft.get_peft_model and transformers.Trainer and transformers.AutoModelForSequenceClassification


def step_of_ours(spec: Any) -> float:
    """Seconds of the first step of LoRA, its model loaded."""
    from harness.bench.subjects import Case, Subject, asked_of
    from harness.execute import choose_device

    question = asked_of(spec, choose_device(spec.device))[0][0]
    subject = Subject(Case(question, 1, False, "lora"), 2)
    return subject.take(1)


def step_of_the_rival(spec: Any) -> float:
    """Seconds of Trainer's first step of the same, its model loaded and peft's adapter in it."""
    import tempfile

    from harness.bench.subjects import asked_of, counterpart_on_cpu
    from harness.bench.usual import adapted, loaded, trainer_of
    from harness.execute import choose_device

    question = asked_of(spec, choose_device(spec.device))[0][0]
    usual = counterpart_on_cpu(question)
    model = adapted(loaded(usual, question), usual, question)
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(model, question, 1, folder)
        started = time.perf_counter()
        trainer.train()
        return time.perf_counter() - started


WAYS = {"ours": (imports_of_ours, step_of_ours), "rival": (imports_of_the_rival, step_of_the_rival)}


def main(what: str, text: str) -> None:
    """Import, note the time, take the step, print."""
    imports, step = WAYS[what]
    imports()
    imported = time.perf_counter() - STARTED
    from harness.bench.silence import silenced

    with silenced():
        from harness.registry import load_all
        from harness.spec import Spec

        load_all()
        seconds = step(Spec.model_validate(json.loads(text)))
    print(json.dumps({"imports": imported, "first_step": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
