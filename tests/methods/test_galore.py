"""GaLore against the update rule of its paper's code, written out a second time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from harness.core.errors import UserError
from harness.core.method import METHODS
from harness.core.protocol import Protocol
from harness.models.backbone import BackboneStorage
from harness.planning.schedule import compute_learning_rates
from harness.replicas.groups import ParameterGroup
from harness.replicas.optimizer import build_optimizer
from harness.training.pack_setup import count_parameters
from methods.layers.projection import GradientProjector
from tests.harness.small_training import protocol, rows, train, trainer

STEPS, EVERY, SCALE = 20, 6, 0.25
SHAPES = [(6, 9), (9, 6), (7, 7)]


def reference(weight: Tensor, grads: Tensor, rank: int, rates: list[float], own: Protocol) -> Tensor:
    """Project, Adam with bias correction in the small space, project back, scale; decoupled decay of the whole."""
    rows_less = weight.shape[0] < weight.shape[1]
    first: Tensor = torch.zeros(1)
    second: Tensor = torch.zeros(1)
    for t, (grad, rate) in enumerate(zip(grads, rates, strict=True)):
        if t % EVERY == 0:
            left, _, right = torch.linalg.svd(grad)
            basis = left[:, :rank] if rows_less else right[:rank].T
        small = basis.T @ grad if rows_less else grad @ basis
        first = own.beta1 * first + (1 - own.beta1) * small
        second = own.beta2 * second + (1 - own.beta2) * small**2
        corrected = (second / (1 - own.beta2 ** (t + 1))).sqrt() + own.epsilon
        step = first / (1 - own.beta1 ** (t + 1)) / corrected
        lifted = basis @ step if rows_less else step @ basis.T
        weight = weight * (1 - rate * own.weight_decay) - rate * SCALE * lifted
    return weight


@pytest.mark.parametrize("rank", [1, 3, 6])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_twenty_steps_are_the_papers(shape: tuple[int, int], rank: int) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(shape, dtype=torch.float64, generator=generator)
    grads = torch.randn(STEPS, *shape, dtype=torch.float64, generator=generator)
    own = Protocol(lr=1e-2, weight_decay=0.1, clip=1e9)
    rates = compute_learning_rates(own, STEPS)
    projector = GradientProjector(shape, rank, EVERY, SCALE)
    group = ParameterGroup("backbone", [("w", weight[None])], [weight.numel()], projectors={"w": projector})
    optimizer = build_optimizer([group], [own], [rates])
    for grad in grads:
        group.grad.copy_(grad.flatten())
        optimizer.step()
    found, wanted = group.leaves["w"].tensor[0].detach(), reference(weight, grads, rank, rates, own)
    assert float((wanted - weight).abs().max()) > 1e-3
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_between_refreshes_the_update_stays_in_the_subspace_of_the_first_gradient() -> None:
    generator = torch.Generator().manual_seed(1)
    grads = torch.randn(3, 5, 8, dtype=torch.float64, generator=generator)
    projector = GradientProjector((5, 8), 2, 3, 1.0)
    left = torch.linalg.svd(grads[0])[0][:, :2]
    for step, grad in enumerate(grads):
        seen = projector.lift(projector.project(grad, step))
        torch.testing.assert_close(seen, left @ left.T @ grad, rtol=0, atol=1e-12)
    later = projector.lift(projector.project(grads[1], 3))
    assert float((later - left @ left.T @ grads[1]).abs().max()) > 1e-2


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_basis_stays_where_it_is(shape: tuple[int, int]) -> None:
    """A captured step reads it at its address, however often it is found anew."""
    generator = torch.Generator().manual_seed(2)
    grads = torch.randn(3, *shape, dtype=torch.float64, generator=generator)
    projector = GradientProjector(shape, 2, 1, 1.0)
    projector.project(grads[0], 0)
    first, kept = projector.basis, projector.state()
    assert first is not None and first.untyped_storage().nbytes() == first.nbytes
    projector.project(grads[1], 1)
    assert projector.basis is first and not torch.equal(first, kept)
    projector.restore(kept)
    assert projector.basis is first and torch.equal(first, kept)
    projector.restore(None)
    assert projector.basis is None


@pytest.mark.parametrize("rank", [1, 4])
def test_moments_have_the_projected_size_and_the_record_says_so(rank: int, tiny_bert: Callable[..., nn.Module]) -> None:
    model = tiny_bert()
    weights = [tuple(m.weight.shape) for n, m in model.named_modules() if isinstance(m, nn.Linear) and ".layer." in n]
    assert len(weights) == 2 * 6
    everything = sum(p.numel() for n, p in model.named_parameters() if not n.startswith("classifier"))
    made, attached = trainer(model, [METHODS.get("galore")(rank=rank)], [protocol(max_steps=2)], [0], rows())
    made.train_step(0)
    _, state = count_parameters(BackboneStorage(0, 0, 0), attached, 0, protocol())
    head = attached.count("head", 0)
    plain = everything - sum(m * n for m, n in weights)
    small = sum(rank * max(m, n) for m, n in weights)
    bases = sum(rank * min(m, n) for m, n in weights)
    assert attached.count("backbone", 0) == everything
    assert state.gradients == 8 * (everything + head)
    assert state.optimizer == 8 * (2 * (plain + head + small) + bases)
    held = made.optimizer.list_tensors()
    held += [p.basis for g in attached.groups for p in g.projectors.values() if isinstance(p, GradientProjector)]  # type: ignore[misc]
    assert sum(t.numel() * t.element_size() for t in held) == state.optimizer


def test_norms_biases_and_embeddings_train_as_in_full_fine_tuning(tiny_bert: Callable[..., nn.Module]) -> None:
    """One step: what is not projected moves as under `full`; a projected weight moves within rank 2."""
    moved = {}
    for method in (METHODS.get("full")(), METHODS.get("galore")(rank=2)):
        model = tiny_bert()
        before = {n: p.clone() for n, p in model.named_parameters()}
        train(trainer(model, [method], [protocol(max_steps=1, warmup=0.0, weight_decay=0.0)], [0], rows())[0])
        moved[method.name] = {n: (p - before[n]).detach() for n, p in model.named_parameters() if n in before}
    for name, change in moved["galore"].items():
        if ".layer." in name and change.dim() == 2:
            assert int(torch.linalg.matrix_rank(change, rtol=1e-6)) == 2
        else:
            assert torch.equal(change, moved["full"][name])


@pytest.mark.parametrize("options", [{"rank": 0}, {"update_every": 0}, {"scale": 0.0}, {"target": ()}])
def test_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"allowed|name linear layers"):
        METHODS.get("galore")(**options).check()


def test_a_rank_above_the_width_is_refused(tiny_bert: Callable[..., nn.Module]) -> None:
    with pytest.raises(UserError, match=r"rank=33: .* is 32 wide; allowed: 32 at most"):
        METHODS.get("galore")(rank=33).fits(tiny_bert())


def test_a_gradient_that_is_not_finite_shows_in_the_weight_not_as_an_error() -> None:
    projector = GradientProjector((3, 4), 2, 1, 1.0)
    lifted = projector.lift(projector.project(torch.full((3, 4), torch.inf), 0))
    assert bool(lifted.isnan().all())
