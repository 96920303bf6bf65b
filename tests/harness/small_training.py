"""Small rows and solo or packed trainers, shared by the tests of training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from harness.core.method import Member, Method
from harness.core.protocol import Protocol
from harness.core.seeds import Streams, equal
from harness.data.task_types.base import Split
from harness.data.task_types.classification import LabelledRows, compute_replica_losses
from harness.planning.schedule import count_steps
from harness.replicas.groups import Attached
from harness.training.pack_setup import build_calibration
from harness.training.trainer import Trainer


def rows(count: int = 44, outputs: int = 2, seed: int = 0) -> LabelledRows:
    """Random rows of 4 to 12 tokens; with one output the labels are float64."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(4, 13, count)
    ids = torch.from_numpy(rng.integers(1, 50, (count, 12), dtype=np.int32))
    ids[torch.arange(12)[None, :] >= torch.from_numpy(lengths)[:, None]] = 0
    labels = torch.from_numpy(rng.integers(0, outputs, count)) if outputs > 1 else torch.from_numpy(rng.random(count))
    return LabelledRows([str(i) for i in range(count)], ids, None, lengths, labels, np.zeros(count, bool))


def protocol(**fields: object) -> Protocol:
    start = {"lr": 1e-2, "epochs": 100.0, "max_steps": 20, "batch_size": 8, "max_length": 12, "warmup": 0.1}
    return Protocol.model_validate(start | fields)


def trainer(
    model: nn.Module, methods: Sequence[Method], protocols: Sequence[Protocol], seeds: Sequence[int], split: Split
) -> tuple[Trainer, Attached]:
    streams = [Streams(equal(s)) for s in seeds]
    steps = [count_steps(p, len(split)) for p in protocols]
    members = [Member(m, s, n) for m, s, n in zip(methods, streams, steps, strict=True)]
    attached = members[0].method.attach(model, members, build_calibration(split, compute_replica_losses))
    return Trainer(model, attached, split, protocols, streams, compute_replica_losses), attached


def train(made: Trainer) -> list[float]:
    """Train to the end; the last losses."""
    seen: list[float] = []
    made.run(lambda members: None, lambda step, losses: seen.append(float(losses[0])))
    return seen
