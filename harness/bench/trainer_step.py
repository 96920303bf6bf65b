"""Time and build the steps of the baseline: transformers.Trainer's own loop on synthetic rows, with or without peft."""

from __future__ import annotations

import copy
import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import torch

from harness.bench.trainer_baseline import TrainerDataset, build_arguments, build_callback
from harness.core.method import Method
from harness.data.task_types.classification import LabelledRows
from harness.models.load import load_model, load_tokenizer
from harness.profiling.request import ProfileRequest, make_synthetic_rows
from harness.replicas.groups import Attached


@dataclasses.dataclass(frozen=True)
class TrainerBaseline:
    """What Trainer trains: a peft adapter of `config`; None: the whole model."""

    name: str
    config: Any


FULL = TrainerBaseline("full", None)


def build_peft_counterpart(method: Method, attached: Attached, model: torch.nn.Module) -> TrainerBaseline:
    """peft's counterpart of a method, with the configuration that the method exports for its adapter."""
    config = copy.deepcopy(method.export(model, attached, 0).config)
    config.inference_mode = False  # an exported configuration is for inference, and freezes the adapter
    return TrainerBaseline(method.name, config)


def load_baseline(baseline: TrainerBaseline, question: ProfileRequest) -> torch.nn.Module:
    """The model as a user of peft loads it: in float32, since Trainer autocasts."""
    return load_model(
        question.source, question.task.outputs, device=question.device, trained_backbone=baseline.config is None
    )


def add_adapter(model: torch.nn.Module, baseline: TrainerBaseline, question: ProfileRequest) -> torch.nn.Module:
    """The model with the baseline's adapter, if it has one."""
    if baseline.config is None:
        return model
    from peft import get_peft_model

    torch.manual_seed(question.cell.seeds["init"])
    peft_model: torch.nn.Module = get_peft_model(model, baseline.config)
    return peft_model


def build_hf_trainer(model: torch.nn.Module, question: ProfileRequest, steps: int, folder: str) -> Any:
    """A Trainer for `steps` steps in one epoch, on rows of random tokens of the request's length."""
    from transformers import DataCollatorWithPadding, PrinterCallback, Trainer

    split, _ = make_synthetic_rows(question.task, question.cell.protocol, question.length, model)
    assert isinstance(split, LabelledRows)
    batches = max(1, len(split) // question.cell.protocol.batch_size)
    # the split is repeated, since Trainer does extra work between epochs
    rows: Any = torch.utils.data.ConcatDataset([TrainerDataset(split)] * (-(-steps // batches)))
    trainer = Trainer(
        model,
        build_arguments(question.cell, steps, question.device, "best", folder),
        train_dataset=rows,
        data_collator=DataCollatorWithPadding(load_tokenizer(question.source)),
    )
    trainer.remove_callback(PrinterCallback)
    tuner = getattr(model, "base_model", None)
    if hasattr(tuner, "update_and_allocate"):  # peft leaves AdaLoRA's rank allocation to the training loop
        trainer.add_callback(build_callback(on_optimizer_step=functools.partial(_allocate, tuner)))
    return trainer


def _allocate(tuner: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
    tuner.update_and_allocate(state.global_step)


@dataclasses.dataclass(frozen=True)
class Rounds:
    """`count` rounds of `block` steps each, after `warmup` steps."""

    count: int
    block: int
    warmup: int

    @property
    def steps(self) -> int:
        return self.warmup + self.count * self.block


class _Clock:
    """Times rounds of Trainer's loop from the end of a step to the end of another; the clock stops for `between`."""

    def __init__(self, rounds: Rounds, device: str, between: Callable[[int], None]) -> None:
        self.rounds, self.cuda, self.between = rounds, device == "cuda", between
        self.seconds: list[float] = []
        self.started = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        steps = state.global_step - self.rounds.warmup
        if steps < 0 or steps % self.rounds.block:
            return
        if self.cuda:  # the loop runs ahead of the device
            torch.cuda.synchronize()
        if steps:
            self.seconds.append((time.perf_counter() - self.started) / self.rounds.block)
            self.between(len(self.seconds) - 1)
        self.started = time.perf_counter()


def time_baseline(
    baseline: TrainerBaseline, question: ProfileRequest, rounds: Rounds, folder: str, between: Callable[[int], None]
) -> list[float]:
    """Seconds per step of Trainer in each round; after a round, `between` is called with its number."""
    model = add_adapter(load_baseline(baseline, question), baseline, question)
    trainer = build_hf_trainer(model, question, rounds.steps, folder)
    clock = _Clock(rounds, question.device, between)
    trainer.add_callback(build_callback(on_step_end=clock.on_step_end))
    trainer.train()
    return clock.seconds
