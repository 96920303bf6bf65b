"""Calls of torch.nn.functional.dropout go through the counter-based one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from harness.replicas.dropout import CounterDropout
from harness.replicas.dropout_sites import install_dropout, select_dropout_replicas
from tests.harness.language import make_model, rows


class Layer(nn.Module):
    """Two calls of its own and one of a layer inside, as BART's layers have them."""

    def __init__(self, inside: bool = True) -> None:
        super().__init__()
        self.dropout = 0.25
        self.inner = Layer(inside=False) if inside else None

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.dropout(x, p=self.dropout, training=self.training)
        x = x if self.inner is None else self.inner(x)
        return nn.functional.dropout(x, self.dropout, self.training)


def drawn(seeds: list[int], x: Tensor, step: int = 0, stride: int = 8) -> Tensor:
    model = Layer().train()
    install_dropout(model, seeds, stride, "cpu").step.fill_(step)
    made: Tensor = model(x)
    return made


def test_each_call_is_a_site_with_the_rate_and_mask_of_its_own() -> None:
    model = Layer().train()
    install_dropout(model, [0], 8, "cpu")
    kept = model(torch.ones(400, 8, 16))
    share = float((kept != 0).double().mean())
    assert share == pytest.approx(0.75**4, abs=0.01)  # four independent masks
    assert float(kept.max()) == pytest.approx(0.75**-4)
    sites = {m.site for m in model.modules() if isinstance(m, CounterDropout)}
    assert len(sites) == 4
    again = model(torch.ones(400, 8, 16))
    assert torch.equal(kept, again)
    assert len([m for m in model.modules() if isinstance(m, CounterDropout)]) == 4


def test_masks_depend_on_seed_and_step_and_not_on_pack_or_padding() -> None:
    x = torch.ones(3, 8, 16)
    alone = [drawn([seed], x) for seed in (5, 6)]
    assert torch.equal(drawn([5, 6], x.repeat(2, 1, 1)), torch.cat(alone))
    assert not torch.equal(*alone) and not torch.equal(drawn([5], x, step=1), alone[0])
    assert torch.equal(drawn([5], x[:, :5]), alone[0][:, :5])


def test_evaluation_and_the_global_generator_are_left_alone() -> None:
    model = Layer().train()
    install_dropout(model, [0], 8, "cpu")
    before = torch.random.get_rng_state()
    model(torch.ones(2, 8, 16))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(model.eval()(torch.ones(2, 8, 16)), torch.ones(2, 8, 16))


def test_a_pack_that_shrinks_and_a_second_clock() -> None:
    model, x = Layer().train(), torch.ones(3, 8, 16)
    clock = install_dropout(model, [5, 6], 8, "cpu")
    both = model(x.repeat(2, 1, 1))
    select_dropout_replicas(model, clock, [1])
    assert torch.equal(model(x), both[3:])
    install_dropout(model, [5], 8, "cpu")
    assert torch.equal(model(x), both[:3])


@pytest.mark.parametrize("kind", ["t5", "bart", "marian", "mbart"])
def test_no_model_draws_a_mask_from_the_global_generator(kind: str) -> None:
    """BART's kin draw a number a layer for layer drop, which is off: so the logits are compared, not the state."""
    import numpy as np

    batch = rows(kind).batch(np.arange(4))
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = make_model(kind, dropout=0.2).train()
        install_dropout(model, [0], 16, "cpu")
        found.append(model(**batch).logits)
    assert torch.equal(*found) and not torch.equal(found[0], make_model(kind).eval()(**batch).logits)
    model = make_model(kind, dropout=0.2).train()
    sites = install_dropout(model, [0], 16, "cpu") and model(**batch) and model.modules()
    assert len({m.site for m in sites if isinstance(m, CounterDropout)}) >= 8  # type: ignore[union-attr]
