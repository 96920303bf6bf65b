"""build_optimizer against torch.optim.AdamW with clip_grad_norm_, replica by replica."""

from __future__ import annotations

import pytest
import torch

from harness.core.protocol import Protocol
from harness.planning.schedule import compute_learning_rates
from harness.profiling.live_storages import LiveStorages
from harness.replicas.groups import ParameterGroup
from harness.replicas.optimizer import GATHERED, build_optimizer
from methods.layers.backbone import group_parameters
from methods.layers.projection import GradientProjector

PROTOCOLS = [
    Protocol(lr=1e-2, clip=0.5),
    Protocol(lr=3e-3, weight_decay=0.3, beta1=0.8, beta2=0.99, epsilon=1e-6, warmup=0.3),
    Protocol(lr=1e-1, schedule="constant", clip=100.0),
]
STEPS = 12


def test_equals_torch_for_each_replica() -> None:
    rates = [compute_learning_rates(p, STEPS) for p in PROTOCOLS]
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(3, 4, 5, dtype=torch.float64, generator=generator)
    bias = torch.randn(3, 5, dtype=torch.float64, generator=generator)
    gradients = torch.randn(STEPS, 3, 25, dtype=torch.float64, generator=generator)
    group = ParameterGroup("g", [("bias", bias), ("weight", weight)], [25] * 3, undecayed=frozenset({"bias"}))
    ours = build_optimizer([group], PROTOCOLS, rates)
    theirs = []
    for slot, own in enumerate(PROTOCOLS):
        w, b = weight[slot].clone().requires_grad_(), bias[slot].clone().requires_grad_()
        settings = {"betas": (own.beta1, own.beta2), "eps": own.epsilon}
        optimizer = torch.optim.AdamW(
            [{"params": [w], "weight_decay": own.weight_decay}, {"params": [b], "weight_decay": 0.0}],
            lr=1.0,
            **settings,
        )
        theirs.append((w, b, optimizer))
    for step in range(STEPS):
        group.grad.copy_(gradients[step])
        ours.step()
        for slot, (w, b, optimizer) in enumerate(theirs):
            w.grad, b.grad = gradients[step, slot, :20].view(4, 5).clone(), gradients[step, slot, 20:].clone()
            torch.nn.utils.clip_grad_norm_([w, b], PROTOCOLS[slot].clip)
            for g in optimizer.param_groups:
                g["lr"] = rates[slot][step]
            optimizer.step()
    for slot, (w, b, _) in enumerate(theirs):
        torch.testing.assert_close(group.leaves["weight"].tensor[slot], w, rtol=0, atol=1e-13)
        torch.testing.assert_close(group.leaves["bias"].tensor[slot], b, rtol=0, atol=1e-13)


def run(rows: int, every: int = 0, scale: float = 1.0) -> torch.Tensor:
    """Theta of so many equal replicas after five steps; the last five of 14 values do not decay."""
    values = torch.arange(14.0, dtype=torch.float64).expand(rows, 14) / 7
    parts = [("w", values[:, :9].clone()), ("b", values[:, 9:].clone())]
    group = ParameterGroup("g", parts, [14] * rows, undecayed=frozenset({"b"}), lr_scale=[scale] * rows)
    group.restarts = [every] * rows
    protocol = Protocol(lr=0.1, weight_decay=0.5, clip=0.7)
    optimizer = build_optimizer([group], [protocol] * rows, [[0.1, 0.2, 0.05, 0.1, 0.02]] * rows)
    for step in range(5):
        group.grad.copy_((values + step).cos())
        optimizer.step()
    return group.theta.detach()


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(2)
    monkeypatch.setattr("harness.replicas.optimizer.CACHED", 8)
    assert torch.equal(run(2), whole)


@pytest.mark.parametrize(("every", "scale"), [(0, 1.0), (2, 1.0), (3, 4.0)])
def test_one_replica_alone_is_updated_as_in_a_pack(every: int, scale: float) -> None:
    torch.testing.assert_close(run(1, every, scale)[0], run(3, every, scale)[1], rtol=0, atol=1e-13)


def test_schedule_equals_transformers() -> None:
    from transformers import get_linear_schedule_with_warmup

    own = Protocol(lr=0.7, warmup=0.15)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.7)
    theirs = get_linear_schedule_with_warmup(optimizer, 5, 33)
    for rate in compute_learning_rates(own, 33):
        assert abs(rate - optimizer.param_groups[0]["lr"]) < 1e-15
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("every", [0, 3])
def test_a_gpus_tables_give_the_hosts_rate_and_count(every: int) -> None:
    """One replica on a GPU reads from tensors what the host passes as numbers on a CPU."""
    group = ParameterGroup("g", [("w", torch.zeros(1, 4))], [4], lr_scale=[2.5])
    group.restarts = [every]
    rates = compute_learning_rates(PROTOCOLS[1], STEPS)
    made = build_optimizer([group], PROTOCOLS[1:2], [rates])
    for step in range(STEPS):
        made.begin(step)
        numbers = made._get_single_rate(0, group)
        made.device = torch.device("cuda")
        rate, count = made._get_single_rate(0, group)
        made.device = torch.device("cpu")
        assert isinstance(rate, torch.Tensor) and rate.shape == count.shape == ()
        assert (float(rate), float(count)) == pytest.approx((numbers[0], float(numbers[1])), rel=1e-6)
        assert float(count) == (step % every if every else step) + 1


@pytest.mark.parametrize("gathered", [0, 1 << 27])
def test_created_gradients_are_clipped_and_applied_as_torch_does(gathered: int) -> None:
    """Those of parameters of their own, with their norm of norms (a GPU's way) and as one (a CPU's)."""
    own, rates = PROTOCOLS[1], compute_learning_rates(PROTOCOLS[1], STEPS)
    generator = torch.Generator().manual_seed(0)
    shapes = {"bias": (5,), "weight": (4, 5), "table": (7, 3)}
    values = {n: torch.randn(s, dtype=torch.float64, generator=generator) for n, s in shapes.items()}
    theirs = {n: v.clone().requires_grad_() for n, v in values.items()}
    torchs = torch.optim.AdamW(
        [{"params": [theirs["weight"], theirs["table"]]}, {"params": [theirs["bias"]], "weight_decay": 0.0}],
        lr=1.0,
        betas=(own.beta1, own.beta2),
        eps=own.epsilon,
        weight_decay=own.weight_decay,
    )
    group = group_parameters(
        "g", {n: torch.nn.Parameter(v) for n, v in values.items()}, frozenset({"bias"}), buffered=False
    )
    ours = build_optimizer([group], [own], [rates])
    ours.gathered = gathered
    for step in range(STEPS):
        for name, parameter in group.parameters.items():
            gradient = torch.randn(shapes[name], dtype=torch.float64, generator=generator)
            parameter.grad, theirs[name].grad = gradient.clone(), gradient
        norm = ours.step()
        wanted = torch.nn.utils.clip_grad_norm_(theirs.values(), own.clip)
        torch.testing.assert_close(norm, wanted[None], rtol=1e-13, atol=0)
        for settings in torchs.param_groups:
            settings["lr"] = rates[step]
        torchs.step()
        assert all(p.grad is None for p in group.parameters.values())
    for name, value in theirs.items():
        torch.testing.assert_close(group.parameters[name].data, value.data, rtol=0, atol=1e-13)


def test_a_parameter_without_a_gradient_has_one_of_zero() -> None:
    values = {"used": torch.ones(4), "idle": torch.full((2, 3), 2.0)}
    own = Protocol(lr=0.1, weight_decay=0.5)

    def run_one(*, buffered: bool) -> torch.Tensor:
        parameters = {n: torch.nn.Parameter(v.clone()) for n, v in values.items()}
        group = group_parameters("g", parameters, buffered=buffered)
        optimizer = build_optimizer([group], [own], [[0.1] * 3])
        for _ in range(3):
            optimizer.zero_grad()
            parameters["used"].square().sum().backward()
            optimizer.step()
        return group.theta.detach()

    assert torch.equal(run_one(buffered=False), run_one(buffered=True))


@pytest.mark.parametrize("projected", [False, True])
def test_an_update_copies_no_created_gradients(projected: bool) -> None:
    """Not one leaf of them, on a GPU: both copies at once are what a large model has no memory for."""
    parameters = {f"w{i}": torch.nn.Parameter(torch.ones(64, 64)) for i in range(8)}
    projectors = {n: GradientProjector((64, 64), 1, 5, 1.0) for n in parameters} if projected else None
    group = group_parameters("g", parameters, projectors=projectors, buffered=False)
    optimizer = build_optimizer([group], [Protocol(lr=0.1)], [[0.1] * 3])
    optimizer.gathered = GATHERED["cuda"]
    for step in range(2):  # projectors look for their space in the first step
        for parameter in parameters.values():
            parameter.grad = torch.ones(64, 64)
        optimizer.begin(step)
        with LiveStorages() as counts:
            optimizer.update()
    leaf = 4 * 64 * 64
    # what is lifted back from a projection has the size of its leaf, one at a time
    assert counts.peak < (2.5 * leaf if projected else 0.1 * leaf)
