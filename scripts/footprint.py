"""Memory and FLOPs of one training step of each method in isolation on the embedded encoder: results/footprint.tsv.

    python -m scripts.footprint

Batches of 16 rows of 32 tokens in float32; parameters and bytes exclude the head, FLOPs are of the whole step.
"""

from __future__ import annotations

import harness  # noqa: F401  # isort: skip  before torch, because it sets how OpenMP threads wait

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from harness.core.method import METHODS, STRATEGIES, Member, Method
from harness.core.presets import get_preset
from harness.core.protocol import Protocol
from harness.core.registry import load_all
from harness.core.seeds import Streams, equal
from harness.data.task_types.base import Split
from harness.data.task_types.classification import LabelledRows, compute_replica_losses
from harness.models.load import load_model
from harness.models.source import resolve
from harness.profiling.live_storages import LiveStorages
from harness.training.pack_setup import build_calibration
from harness.training.trainer import Trainer
from methods.lorasp import LoraSP

OUT = Path(__file__).parent.parent / "results" / "footprint.tsv"
ROWS, LENGTH = 16, 32


def measure_step_cost(method: Method, model: nn.Module, split: Split, protocol: Protocol) -> dict[str, int]:
    """Trainable parameters, bytes of gradients, optimizer state and saved activations, and FLOPs of one step."""
    streams = Streams(equal(0))
    attached = method.attach(model, [Member(method, streams, 2)], build_calibration(split, compute_replica_losses))
    trainer = Trainer(model, attached, split, [protocol], [streams], compute_replica_losses)
    # Saved parameters are no activations: they exist anyway.
    parameter_storages = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    parameter_storages |= {g.theta.untyped_storage().data_ptr() for g in attached.groups}
    saved_bytes: dict[int, int] = {}
    # Keeps saved tensors alive: otherwise a freed storage's address could be used again and be counted once.
    alive: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        # SHiRA's sparse weight: indices and trained values, no activation.
        if tensor.layout != torch.strided:
            return tensor
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameter_storages:
            saved_bytes[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    # torch's FLOP counter would leave out products that are added in place
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t), LiveStorages() as counts:
        trainer.train_step(0)
    groups = [g for g in attached.groups if g.name != "head"]
    return {
        "trained parameters": sum(g.counts[0] for g in groups),
        "gradient": sum(g.count_trained_bytes(0) for g in groups),
        "optimizer state": sum(g.state_bytes(0) for g in groups),
        "activations": sum(saved_bytes.values()),
        "compute": counts.flops,
    }


def measure_methods() -> dict[str, Mapping[str, int]]:
    """Each method at its defaults, and lorasp with each strategy."""
    source = resolve(get_preset("quick"), "glue", None)
    rng = np.random.default_rng(0)
    ids = torch.from_numpy(rng.integers(5, 399, (ROWS, LENGTH), dtype=np.int32))
    labels = torch.from_numpy(rng.integers(0, 2, ROWS))
    lengths = np.full(ROWS, LENGTH)
    split = LabelledRows([str(i) for i in range(ROWS)], ids, None, lengths, labels, np.zeros(ROWS, bool))
    protocol = Protocol(lr=1e-3, epochs=100.0, max_steps=2, batch_size=ROWS, max_length=LENGTH)
    methods = {name: METHODS.get(name)() for name in METHODS.names()}
    methods |= {f"lorasp-{name}": LoraSP(select=name) for name in STRATEGIES.names()}
    costs: dict[str, Mapping[str, int]] = {}
    for name, method in methods.items():
        model = load_model(source, 2, trained_backbone=method.trains_backbone)
        costs[name] = measure_step_cost(method, model, split, protocol)
    return costs


def format_table(found: Mapping[str, Mapping[str, int]]) -> str:
    """Tab-separated text with one line per method."""
    head = ["method", *next(iter(found.values()))]
    lines = [head, *([name, *map(str, cost.values())] for name, cost in found.items())]
    return "\n".join("\t".join(line) for line in lines)


if __name__ == "__main__":
    load_all()
    OUT.write_text(format_table(measure_methods()) + "\n")
