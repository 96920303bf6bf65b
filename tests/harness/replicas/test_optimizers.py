"""Each optimizer on K replicas against torch's or bitsandbytes' own class on each replica by itself."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.core.method import METHODS, Method
from harness.core.optimizer import OPTIMIZERS, get_optimizer
from harness.core.protocol import Protocol
from harness.models.backbone import BackboneStorage
from harness.planning.schedule import compute_learning_rates
from harness.replicas.blockwise import BlockwiseAdamW
from harness.replicas.groups import Attached, ParameterGroup
from harness.replicas.optimizer import ReplicaOptimizer, build_optimizer
from harness.training.pack_setup import count_parameters
from harness.training.trainer import Trainer
from methods.layers.backbone import group_parameters
from tests.harness.small_training import protocol, rows, train, trainer

HAS_BITSANDBYTES = importlib.util.find_spec("bitsandbytes") is not None
BITSANDBYTES = {
    "adamw_8bit": "AdamW8bit",
    "paged_adamw_32bit": "PagedAdamW32bit",
    "paged_adamw_8bit": "PagedAdamW8bit",
}
"""Ours -> the class of bitsandbytes. On a CPU the paged ones have no pages, there as here."""
EVERY = [
    pytest.param(name, marks=pytest.mark.skipif(name in BITSANDBYTES and not HAS_BITSANDBYTES, reason="bitsandbytes"))
    for name in OPTIMIZERS.names()
]
STEPS = 12
SGD_PROTOCOLS = [
    Protocol(lr=1e-1, optimizer="sgd", clip=0.5),
    Protocol(lr=3e-2, optimizer="sgd", momentum=0.9, weight_decay=0.3, warmup=0.3),
    Protocol(lr=1.0, optimizer="sgd", momentum=0.5, schedule="constant", clip=100.0),
]


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def build_sgd(own: Protocol, decayed: Sequence[Tensor], others: Sequence[Tensor]) -> torch.optim.SGD:
    groups = [{"params": decayed, "weight_decay": own.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=1.0, momentum=own.momentum)


def take_step(optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor], clip: float, rate: float) -> None:
    torch.nn.utils.clip_grad_norm_(parameters, clip)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()


@pytest.mark.parametrize("slots", [(0, 1, 2), (0,), (1,)])
def test_sgd_is_torchs_for_each_replica(slots: Sequence[int]) -> None:
    protocols = [SGD_PROTOCOLS[slot] for slot in slots]
    rates, count = [compute_learning_rates(p, STEPS) for p in protocols], len(slots)
    weight, bias, gradients = normal(count, 4, 5), normal(count, 5, seed=1), normal(STEPS, count, 25, seed=2)
    group = ParameterGroup("g", [("bias", bias), ("weight", weight)], [25] * count, undecayed=frozenset({"bias"}))
    ours = build_optimizer([group], protocols, rates)
    theirs = [(weight[i].clone().requires_grad_(), bias[i].clone().requires_grad_()) for i in range(count)]
    optimizers = [build_sgd(own, [w], [b]) for own, (w, b) in zip(protocols, theirs, strict=True)]
    for step in range(STEPS):
        group.grad.copy_(gradients[step])
        ours.step()
        for slot, (w, b) in enumerate(theirs):
            w.grad, b.grad = gradients[step, slot, :20].view(4, 5).clone(), gradients[step, slot, 20:].clone()
            take_step(optimizers[slot], [w, b], protocols[slot].clip, rates[slot][step])
            # what methods read after a step is the clipped gradient, without the decay
            torch.testing.assert_close(group.grad[slot, 20:], b.grad, rtol=0, atol=1e-13)
            torch.testing.assert_close(group.grad[slot, :20], w.grad.flatten(), rtol=0, atol=1e-13)
    for slot, (w, b) in enumerate(theirs):
        torch.testing.assert_close(group.leaves["weight"].tensor[slot], w, rtol=0, atol=1e-13)
        torch.testing.assert_close(group.leaves["bias"].tensor[slot], b, rtol=0, atol=1e-13)


def test_sgd_reads_created_gradients_where_they_are() -> None:
    own, rates = SGD_PROTOCOLS[1], compute_learning_rates(SGD_PROTOCOLS[1], STEPS)
    shapes = {"bias": (5,), "weight": (4, 5), "table": (7, 3)}
    values = {name: normal(*shape) for name, shape in shapes.items()}
    theirs = {name: value.clone().requires_grad_() for name, value in values.items()}
    optimizer = build_sgd(own, [theirs["weight"], theirs["table"]], [theirs["bias"]])
    named = {name: nn.Parameter(value) for name, value in values.items()}
    group = group_parameters("g", named, frozenset({"bias"}), buffered=False)
    ours = build_optimizer([group], [own], [rates])
    for step in range(STEPS):
        for seed, (name, parameter) in enumerate(group.parameters.items()):
            gradient = normal(*shapes[name], seed=100 * step + seed)
            parameter.grad, theirs[name].grad = gradient.clone(), gradient
        ours.step()
        take_step(optimizer, list(theirs.values()), own.clip, rates[step])
        assert all(p.grad is None for p in group.parameters.values())
    for name, value in theirs.items():
        torch.testing.assert_close(group.parameters[name].data, value.data, rtol=0, atol=1e-13)


SIZES = {"a": 8192, "b": 4096, "c": 4095, "bias": 300, "d": 5000, "e": 4608}
"""Above and below the limit of 8 bits, with and without a part of a block at the end."""
COUNTS = {"a": [8192, 5000], "d": [5000, 4100], "c": [4095, 0]}
"""Entries of leaves with padding: the second replica has fewer, in one leaf below the limit."""


def check_against_bitsandbytes(name: str, device: str) -> None:
    """Two replicas beside each other, with padding, equal bitsandbytes' class on each tensor bit by bit."""
    import bitsandbytes

    protocols = [
        Protocol(lr=1e-2, optimizer=name, clip=1e6),
        Protocol(lr=3e-3, optimizer=name, weight_decay=0.3, beta1=0.8, beta2=0.99, epsilon=1e-6, clip=1e6),
    ]
    rates = [compute_learning_rates(p, STEPS) for p in protocols]
    values = {leaf: normal(2, size, seed=size, dtype=torch.float32).to(device) for leaf, size in SIZES.items()}
    for leaf, counts in COUNTS.items():
        for row, count in enumerate(counts):
            values[leaf][row, count:] = 0
    totals = [sum(COUNTS.get(leaf, [size, size])[row] for leaf, size in SIZES.items()) for row in range(2)]
    group = ParameterGroup("g", list(values.items()), totals, undecayed=frozenset({"bias"}), leaf_counts=COUNTS)
    ours = build_optimizer([group], protocols, rates)
    theirs: list[tuple[dict[str, Tensor], Any]] = []
    for row, own in enumerate(protocols):
        sizes = {leaf: COUNTS.get(leaf, [size, size])[row] for leaf, size in SIZES.items()}
        mine = {leaf: nn.Parameter(values[leaf][row, :size].clone()) for leaf, size in sizes.items() if size}
        plain = {"params": [mine["bias"]], "weight_decay": 0.0}
        decayed = {"params": [p for leaf, p in mine.items() if leaf != "bias"], "weight_decay": own.weight_decay}
        kind = getattr(bitsandbytes.optim, BITSANDBYTES[name])
        theirs.append((mine, kind([decayed, plain], lr=1.0, betas=(own.beta1, own.beta2), eps=own.epsilon)))
    for step in range(STEPS):
        gradients = normal(2, group.theta.shape[1], seed=step, dtype=torch.float32).to(device)
        for leaf, counts in COUNTS.items():
            place = group.leaves[leaf]
            for row, count in enumerate(counts):
                gradients[row, place.start + count : place.stop] = 0
        group.grad.copy_(gradients)
        ours.step()
        for row, (mine, optimizer) in enumerate(theirs):
            for leaf, parameter in mine.items():
                start = group.leaves[leaf].start
                parameter.grad = gradients[row, start : start + len(parameter)].clone()
            for settings in optimizer.param_groups:
                settings["lr"] = rates[row][step]
            optimizer.step()
    if device == "cuda":
        torch.cuda.synchronize()
    assert isinstance(ours, BlockwiseAdamW)
    for row, (mine, optimizer) in enumerate(theirs):
        for leaf, parameter in mine.items():
            assert torch.equal(group.leaves[leaf].tensor[row, : len(parameter)], parameter), (row, leaf)
        stored = [tensor for segment in ours.segments[0][row] for tensor in segment.state]
        state = [optimizer.state[p] for p in mine.values()]
        wanted = sum(s[n].nbytes for s in state for n in ("state1", "state2", "absmax1", "absmax2") if n in s)
        assert sum(tensor.nbytes for tensor in stored) == wanted
        sizes = [len(p) for p in mine.values()]
        assert sum(get_optimizer(protocols[row]).count_state_bytes(protocols[row], n, 4) for n in sizes) == wanted
        assert any(t.dtype == torch.uint8 for t in stored) == name.endswith("8bit")
        padding = [group.leaves[leaf].tensor[row, COUNTS[leaf][row] :] for leaf in COUNTS]
        assert not any(bool(part.any()) for part in padding)


@pytest.mark.skipif(not HAS_BITSANDBYTES, reason="bitsandbytes")
@pytest.mark.filterwarnings("ignore:Paged optimizers")
@pytest.mark.parametrize("name", BITSANDBYTES)
def test_bitsandbytes_has_the_same_parameters_and_state(name: str) -> None:
    check_against_bitsandbytes(name, "cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
@pytest.mark.parametrize("name", BITSANDBYTES)
def test_bitsandbytes_has_the_same_parameters_and_state_on_a_gpu(name: str) -> None:
    check_against_bitsandbytes(name, "cuda")


@pytest.mark.parametrize("name", EVERY)
def test_moments_that_restart_are_those_of_a_new_optimizer(name: str) -> None:
    own, values = Protocol(lr=0.1, optimizer=name, weight_decay=0.5), normal(2, 4200, dtype=torch.float32)
    restarted = ParameterGroup("g", [("w", values.clone())], [4200] * 2)
    restarted.restarts = [0, 3]
    ours = build_optimizer([restarted], [own, own], [[0.1] * 6] * 2)
    thetas = []
    for step in range(6):
        thetas.append(restarted.theta.detach().clone())
        restarted.grad.copy_(values + step)
        ours.step()
    anew = ParameterGroup("g", [("w", thetas[3].clone())], [4200] * 2)
    other = build_optimizer([anew], [own, own], [[0.1] * 3] * 2)
    for step in range(3, 6):
        anew.grad.copy_(values + step)
        other.step()
    assert torch.equal(restarted.theta[1], anew.theta[1])
    assert torch.equal(restarted.theta[0], anew.theta[0]) == (name == "sgd")  # without momentum nothing restarts


def build(
    tiny_bert: Callable[..., nn.Module],
    methods: Sequence[Method],
    protocols: Sequence[Protocol],
    seeds: Sequence[int],
    dtype: torch.dtype = torch.float32,
) -> tuple[Trainer, Attached]:
    return trainer(tiny_bert(dtype=dtype), methods, protocols, seeds, rows())


def list_methods() -> list[Method]:
    """Of tensors with 8-bit state (rank 128: 4,096 entries), with fewer entries, and with padding."""
    lora, lorasp = METHODS.get("lora"), METHODS.get("lorasp")
    return [lora(rank=128), lorasp(rank=128), lorasp(rank=256, resample=3), METHODS.get("loraplus")(rank=8)]


def list_protocols(name: str) -> list[Protocol]:
    more: dict[str, Any] = {"momentum": 0.9} if name == "sgd" else {"beta1": 0.8}
    return [protocol(optimizer=name, max_steps=n, **extra) for n, extra in ((9, {}), (6, more), (9, more), (7, {}))]


def get_values(attached: Attached, row: int) -> dict[str, Tensor]:
    """Trained values of a replica by leaf, without padding."""
    values: dict[str, Tensor] = {}
    for group in attached.groups:
        for name, leaf in group.leaves.items():
            if count := group.count_leaf(leaf, row):
                values[name] = leaf.tensor.detach()[row].flatten()[:count].clone()
    return values


@pytest.mark.parametrize("name", EVERY)
def test_a_replica_trains_in_a_pack_as_alone(name: str, tiny_bert: Callable[..., nn.Module]) -> None:
    """Replicas leave the pack at different steps; one of them draws new masks."""
    methods, protocols = list_methods(), list_protocols(name)
    # bitsandbytes computes in float32, where sums of other order may round a moment to the next of its codes
    dtype, tolerance = (torch.float32, 2e-3) if name in BITSANDBYTES else (torch.float64, 1e-10)
    packed, attached = build(tiny_bert, methods, protocols, range(4), dtype)
    ended: dict[int, dict[str, Tensor]] = {}

    def finished(members: Sequence[int]) -> None:
        for row, member in enumerate(members):
            if packed.totals[member] == packed.optimizer.steps:
                ended[member] = get_values(attached, row)

    packed.run(finished, lambda step, losses: None)
    for slot, (method, own) in enumerate(zip(methods, protocols, strict=True)):
        alone, attached_alone = build(tiny_bert, [method], [own], [slot], dtype)
        train(alone)
        values = get_values(attached_alone, 0)
        assert set(values) == set(ended[slot])
        for leaf, value in values.items():
            torch.testing.assert_close(ended[slot][leaf], value, rtol=0, atol=tolerance)


class Stopped(Exception):
    pass


def run_until(made: Trainer, step: int) -> None:
    def completed() -> None:
        if made.optimizer.steps == step:
            raise Stopped

    with pytest.raises(Stopped):
        made.run(lambda members: None, lambda step, losses: None, completed)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("until", [4, 8])
def test_a_checkpoint_resumes_bit_by_bit(name: str, until: int, tiny_bert: Callable[..., nn.Module]) -> None:
    """Before and after two replicas have left the pack."""
    straight, half, again = (build(tiny_bert, list_methods(), list_protocols(name), range(4)) for _ in range(3))
    train(straight[0])
    run_until(half[0], until)
    stream = io.BytesIO()
    torch.save(half[0].state(), stream)
    stream.seek(0)
    again[0].restore(torch.load(stream, weights_only=True))
    train(again[0])
    for one, other in zip(straight[1].groups, again[1].groups, strict=True):
        assert torch.equal(one.theta, other.theta)
    for one, other in zip(straight[0].optimizer.list_tensors(), again[0].optimizer.list_tensors(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("method", ["lora", "lorasp", "full", "galore"])
def test_the_record_counts_the_bytes_of_the_state(name: str, method: str, tiny_bert: Callable[..., nn.Module]) -> None:
    options = {"rank": 128} if method in ("lora", "lorasp") else {}
    for extra in ({}, {"momentum": 0.9}) if name == "sgd" else ({},):
        own = protocol(optimizer=name, **extra)
        made, attached = build(tiny_bert, [METHODS.get(method)(**options)], [own], [0])
        made.train_step(0)
        _, state = count_parameters(BackboneStorage(0, 0, 0), attached, 0, own)
        bases = [p.state() for g in attached.groups for p in g.projectors.values()]
        held = sum(t.nbytes for t in (*made.optimizer.list_tensors(), *bases) if t is not None)
        assert state.optimizer == held
        assert (state.optimizer == sum(b.nbytes for b in bases if b is not None)) == (name == "sgd" and not extra)


@pytest.mark.parametrize("name", EVERY)
def test_galore_projects_for_every_optimizer(name: str, tiny_bert: Callable[..., nn.Module]) -> None:
    """With a projector that keeps everything, galore is full fine-tuning; below 4,096 entries in 32 bits."""
    values = {f"w{i}": normal(6, 8, seed=i, dtype=torch.float32) for i in range(3)}
    own = Protocol(lr=0.05, optimizer=name, weight_decay=0.3, **({"momentum": 0.9} if name == "sgd" else {}))
    results = []
    for projected in (False, True):
        parameters = {n: nn.Parameter(v.clone()) for n, v in values.items()}
        projectors = {n: Rotation(8) for n in parameters} if projected else None
        group = group_parameters("g", parameters, projectors=projectors, buffered=False)  # type: ignore[arg-type]
        optimizer = build_optimizer([group], [own], [[0.05] * 5])
        for step in range(5):
            for seed, parameter in enumerate(parameters.values()):
                parameter.grad = normal(6, 8, seed=10 * step + seed, dtype=torch.float32)
            optimizer.step()
        results.append(group.theta.detach().clone())
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=1e-5)


class Rotation:
    """A projector to a space of the same size: it reverses the columns."""

    own_size = 0

    def __init__(self, width: int) -> None:
        self.width, self.size = width, 6 * width

    def project(self, grad: Tensor, step: int) -> Tensor:
        return grad.flip(1).flatten()

    def lift(self, update: Tensor) -> Tensor:
        return update.view(6, self.width).flip(1)

    def state(self) -> Tensor | None:
        return None

    def restore(self, state: Tensor | None) -> None:
        pass


@pytest.mark.parametrize("reads", [(), ("weight_decay",)])
@pytest.mark.parametrize("count", [1, 2])
def test_weight_decay_acts_where_an_optimizer_reads_it(
    reads: tuple[str, ...], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OPTIMIZERS.get("sgd"), "reads", reads)
    group = ParameterGroup("g", [("w", torch.ones(count, 4))], [4] * count)
    own = Protocol(lr=1.0, optimizer="sgd", weight_decay=0.5)
    optimizer = build_optimizer([group], [own] * count, [[0.1]] * count)
    optimizer.step()
    assert torch.equal(group.theta.detach(), torch.full((count, 4), 0.95 if reads else 1.0))


def test_one_optimizer_updates_a_pack() -> None:
    group = ParameterGroup("g", [("w", torch.zeros(2, 4))], [4, 4])
    with pytest.raises(ValueError, match="one optimizer"):
        build_optimizer([group], [Protocol(lr=1.0), Protocol(lr=1.0, optimizer="sgd")], [[1.0], [1.0]])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
@pytest.mark.parametrize("name", ["paged_adamw_32bit", "paged_adamw_8bit"])
def test_paged_memory_is_used_again(name: str) -> None:
    """bitsandbytes cannot free it, so a second pack must take the pages of the first, all zero."""
    from harness.replicas import blockwise

    def step_once() -> tuple[int, Tensor]:
        group = ParameterGroup("g", [("w", torch.ones(2, 200_000, device="cuda"))], [200_000] * 2)
        own = Protocol(lr=0.1, optimizer=name)
        optimizer = build_optimizer([group], [own, own], [[0.1] * 2] * 2)
        assert isinstance(optimizer, BlockwiseAdamW)
        group.grad.fill_(1.0)
        optimizer.step()
        torch.cuda.synchronize()
        return len(optimizer.pages), group.theta.detach().clone()

    pages, first = step_once()
    free = len(blockwise._free_pages)
    assert pages == 4 and free >= 4
    assert torch.equal(step_once()[1], first) and len(blockwise._free_pages) == free


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
@pytest.mark.parametrize("name", [*BITSANDBYTES, "sgd"])
def test_a_pack_trains_on_a_gpu_as_on_a_cpu(name: str, tiny_bert: Callable[..., nn.Module]) -> None:
    """Stepwise from one state: bitsandbytes' kernels run on the default stream, and must not race with others."""
    own = protocol(optimizer=name, max_steps=8, **({"momentum": 0.9} if name == "sgd" else {}))
    thetas = []
    for device in ("cpu", "cuda"):
        lora = METHODS.get("lora")
        model = tiny_bert(dtype=torch.float32).to(device)
        made, attached = trainer(model, [lora(rank=128)] * 3, [own] * 3, range(3), rows().to(device))
        made.run(lambda members: None, lambda step, losses: None)
        assert (made.optimizer.fallback is None) == (name == "sgd" or device == "cpu")
        thetas.append([group.theta.detach().cpu() for group in attached.groups])
    for one, other in zip(*thetas, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=5e-3)


def test_every_optimizer_says_what_it_is() -> None:
    for name, kind in OPTIMIZERS:
        assert kind.name == name and kind.summary and kind.trainer
        assert issubclass(kind().get_updater() or ReplicaOptimizer, ReplicaOptimizer)
