"""Seconds of a pack's training step, timed on the real backbone with made-up rows of a task's usual length."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence

import numpy as np
import torch

from harness.core.cell import Cell, Protocol
from harness.core.failure import is_out_of_memory, release_memory
from harness.core.method import Method
from harness.planning.packs import Pack
from harness.profiling.clocks import time_block
from harness.profiling.knee import Timed, time_sizes
from harness.profiling.request import ProfileRequest, build_pack_trainer, load_alone

WARMUP = 2
"""Steps before the clock runs: a GPU captures in the second what all later ones replay."""
BLOCK, LEAST, MOST = {"cpu": 1, "cuda": 8}, 3, 12
"""Steps that are timed together, and blocks of them: more than the least until so many seconds are over."""
ENOUGH = 0.3


class StepTimer:
    """One backbone, put under packs of growing size; `question` says what it is and how long the rows are."""

    def __init__(self, question: ProfileRequest, cells: Sequence[Cell], methods: Sequence[Method]) -> None:
        self.question, self.cells, self.methods = question, cells, methods
        self.model = load_alone(question)

    def __call__(self, k: int) -> float | None:
        """Seconds of a step of k replicas, the best of some blocks; None where they do not fit."""
        try:
            return self._seconds(k)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        finally:
            release_memory()
        return None

    def _seconds(self, k: int) -> float:
        device, steps = self.question.device, BLOCK[self.question.device]
        chosen = [i * len(self.cells) // k for i in range(k)]  # of all methods alike
        pack = Pack(tuple(self.cells[i] for i in chosen), tuple(self.methods[i] for i in chosen))
        trainer = build_pack_trainer(pack, self.question, self._model(), WARMUP + MOST * steps)
        times: list[float] = []
        with trainer.runner.stream():
            for step in range(WARMUP):
                trainer.train_step(step)
            while len(times) < LEAST or (len(times) < MOST and sum(times) * steps < ENOUGH):
                times.append(time_block(trainer, steps, device) / steps)
        return min(times)

    def _model(self) -> torch.nn.Module:
        """A copy that shares the weights: what a method attaches stays on the copy."""
        weights = [*self.model.parameters(), *self.model.buffers()]
        return copy.deepcopy(self.model, {id(tensor): tensor for tensor in weights})


def usual_length(lengths: np.ndarray, protocol: Protocol) -> int:
    """Tokens that a batch is padded to, as a rule: its longest row's, or where rows of like length share one, any's."""
    share = 0.5 if protocol.group_by_length else protocol.batch_size / (protocol.batch_size + 1)
    return int(np.quantile(lengths, share))


def time_packs(
    question: ProfileRequest, cells: Sequence[Cell], methods: Sequence[Method], most: int, replica_steps: int
) -> Timed:
    """Times by size; loading the backbone counts against the budget. Raises what a method or the model raises."""
    started = time.perf_counter()
    timer = StepTimer(question, cells, methods)
    try:
        return time_sizes(timer, most, replica_steps, started=started)
    finally:
        del timer
        release_memory()
