"""Predict memory and FLOPs of a pack's training step by running one step on fake tensors.

Fake tensors have a shape, a dtype and a device but no values, so a step of any model takes no memory.
"""

from __future__ import annotations

from harness.profiling.by_blocks import BlockPredictor
from harness.profiling.fake_step import prepare_trainer, use_fake_tensors
from harness.profiling.prediction import Prediction, Step
from harness.profiling.trace import trace


def predict(step: Step, blocks: BlockPredictor | None = None) -> Prediction:
    """The prediction of one training step. Raises what a method raises that reads the backbone's weights to attach.

    A deep model whose blocks are alike is predicted from shallow ones. `blocks` keeps what later steps share.
    """
    with use_fake_tensors():
        by_blocks = (blocks or BlockPredictor()).predict(step)
    return predict_whole(step) if by_blocks is None else by_blocks


def predict_whole(step: Step) -> Prediction:
    """As `predict`, by a step of the whole model: the reference for predictions from shallow models."""
    with use_fake_tensors():
        return trace(prepare_trainer(step), step.device)
