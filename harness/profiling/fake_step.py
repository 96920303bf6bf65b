"""The trainer of a training step on fake tensors, which have a shape, a dtype and a device but no values.

The backbone is fake. Adapter values are real, since methods draw them and build index maps from them.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from harness.models.fake import build_fake_model
from harness.profiling.prediction import Step
from harness.profiling.request import make_synthetic_rows
from harness.replicas.dropout import CounterDropout
from harness.training.pack_setup import attach_methods
from harness.training.trainer import Trainer


@contextlib.contextmanager
def use_fake_tensors() -> Iterator[None]:
    """Create fake tensors within the context; real ones from outside may take part in their operations."""
    log = logging.getLogger("torch._subclasses.fake_tensor")  # it logs a traceback where the caller reports one line
    was_disabled, log.disabled = log.disabled, True
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), torch.random.fork_rng(devices=[]):
            yield
    finally:
        log.disabled = was_disabled


def prepare_trainer(step: Step) -> Trainer:
    """The trainer of a step, with a fake backbone and real adapter values."""
    first, method = step.cells[0], step.methods[0]
    model = build_fake_model(
        step.source,
        step.task.outputs,
        dtype=first.dtype,
        quantize=first.quantize,
        trained_backbone=method.trains_backbone,
        device=step.device,
    )
    with use_real_tensors():
        split, losses = make_synthetic_rows(step.task, first.protocol, step.length, model)
        attached, streams = attach_methods(model, step.cells, step.methods, split, losses)
        protocols = [c.protocol.model_copy(update={"max_steps": 2, "epochs": 100.0}) for c in step.cells]
        autocast = first.dtype == "bf16" and method.autocasts
        trainer = Trainer(model, attached, split, protocols, streams, losses, autocast=autocast)
    if step.device == "cuda":  # the step must create the tensors that the GPU's own kernels create
        trainer.optimizer.imitate("cuda")
        for module in trainer.model.modules():
            if isinstance(module, CounterDropout):
                module.forward = functools.partial(_mimic_kernel, module)  # type: ignore[method-assign]
    return trainer


def use_real_tensors() -> contextlib.AbstractContextManager[Any]:
    """Leave the fake mode within the context; operations on fake tensors still give fake ones."""
    from torch._subclasses.fake_tensor import unset_fake_temporarily

    return unset_fake_temporarily()


def _mimic_kernel(module: CounterDropout, x: Tensor) -> Tensor:
    """Dropout with the memory of harness/replicas/dropout_kernel.py: a result, and no saved mask."""
    output: Tensor = _FakeDropout.apply(x) if module.training and any(module.p) else x  # type: ignore[no-untyped-call]
    return output


class _FakeDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.empty_like(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return torch.empty_like(grads[0])
