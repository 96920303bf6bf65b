"""Memory and FLOPs of a pack's training step, found without running it: one step of fake tensors."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from harness.dropout import CounterDropout
from harness.fake_model import fake_model
from harness.measure import made_up_rows
from harness.optimizer import GATHERED
from harness.packrun import attach_pack
from harness.packs import Pack
from harness.prediction import Prediction, Step
from harness.trace import trace
from harness.train import Trainer


def predict(step: Step) -> Prediction:
    """One step of training on fake tensors. Raises what a method raises that reads the weights before training."""
    with fake_tensors():
        return trace(prepared(step), step.device)


@contextlib.contextmanager
def fake_tensors() -> Iterator[None]:
    """Tensors made within have shapes and no numbers; those from without are taken for such."""
    log = logging.getLogger("torch._subclasses.fake_tensor")  # it prints a traceback of what is told in one line
    told, log.disabled = log.disabled, True
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), torch.random.fork_rng(devices=[]):
            yield
    finally:
        log.disabled = told


def prepared(step: Step) -> Trainer:
    """The trainer of a step, its backbone fake, its few adapter values real."""
    first, method = step.cells[0], step.methods[0]
    model = fake_model(
        step.source,
        step.task.outputs,
        dtype=first.dtype,
        quantize=first.quantize,
        trained_backbone=method.trains_backbone,
        device=step.device,
    )
    with real_tensors():
        split, losses = made_up_rows(step.task, first.protocol, step.length, model)
        attached, streams = attach_pack(model, Pack(step.cells, step.methods), split, losses)
        protocols = [c.protocol.model_copy(update={"max_steps": 2, "epochs": 100.0}) for c in step.cells]
        autocast = first.dtype == "bf16" and method.autocasts
        trainer = Trainer(model, attached, split, protocols, streams, losses, autocast=autocast)
    if step.device == "cuda":
        trainer.optimizer.gathered = GATHERED["cuda"]
        for module in trainer.model.modules():
            if isinstance(module, CounterDropout):
                module.forward = functools.partial(_as_the_kernel, module)  # type: ignore[method-assign]
    return trainer


def real_tensors() -> contextlib.AbstractContextManager[Any]:
    """Out of the fake mode for a while: what is made of fake tensors stays fake all the same."""
    from torch._subclasses.fake_tensor import unset_fake_temporarily

    return unset_fake_temporarily()


def _as_the_kernel(module: CounterDropout, x: Tensor) -> Tensor:
    """What harness/dropout_kernel.py takes: the result, and nothing kept for the backward pass."""
    made: Tensor = _Dropped.apply(x) if module.training and any(module.p) else x  # type: ignore[no-untyped-call]
    return made


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.empty_like(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return torch.empty_like(grads[0])
