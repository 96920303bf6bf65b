"""Starting from an adapter trained before: the same function at once, and masks on top."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.core.errors import NotApplicable, UserError
from harness.core.method import METHODS, Initial, Member, Method
from harness.core.seeds import Streams, equal
from harness.data.task_types.classification import compute_replica_losses
from harness.training.pack_setup import build_calibration
from methods.layers.initial import replace_factors
from methods.sites import find_sites
from tests.harness.small_training import rows

RANK, SCALE = 4, 1.75
BATCH = rows(seed=1).batch(np.arange(10))


def adapter(model: Any, rank: int = RANK, outputs: int = 2, target: tuple[str, ...] = ("query", "value")) -> Initial:
    """Random pairs of `rank` and a random head."""
    made = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=made, dtype=torch.float64) / 4

    sites = find_sites(model, target, rank)
    pairs = {s.name: (draw(rank, s.d_in), draw(s.d_out, rank), SCALE) for s in sites}
    return Initial(rank, pairs, {"classifier.weight": draw(outputs, 32), "classifier.bias": draw(outputs)})


def attached(model: Any, method: Method, initial: Initial | None) -> Any:
    member = Member(method, Streams(equal(0)), 5, initial)
    return method.attach(model, [member], build_calibration(rows(), compute_replica_losses))


def by_hand(model: Any, initial: Initial) -> Tensor:
    """Logits of the base with W + scale * B A in the weights and the adapter's head; nothing of ours."""
    for name, (a, b, scale) in initial.pairs.items():
        model.get_submodule(name).weight.data += scale * b @ a
    model.classifier.weight.data.copy_(initial.head["classifier.weight"])
    model.classifier.bias.data.copy_(initial.head["classifier.bias"])
    logits: Tensor = model.eval()(**BATCH).logits
    return logits.detach()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lora", {"alpha": 3.0}),
        ("lora", {"alpha": 7.0}),
        ("lora-fa", {}),
        ("rslora", {}),
        ("loraplus", {}),
        ("lorasp", {}),
        ("lorasp", {"zero": "a", "ratio": 0.05}),
        ("lorasp", {"select": "a-only"}),
    ],
)
def test_the_start_is_the_adapters_function_at_any_scale(
    name: str, options: dict[str, Any], tiny_bert: Callable[..., Any]
) -> None:
    model, initial = tiny_bert(), adapter(tiny_bert())
    attached(model, METHODS.get(name)(rank=RANK, **options), initial)
    with torch.no_grad():
        found = model.eval()(**BATCH).logits
    torch.testing.assert_close(found, by_hand(tiny_bert(), initial), rtol=0, atol=1e-11)


def test_frozen_entries_keep_the_loaded_values(tiny_bert: Callable[..., Any]) -> None:
    model, initial = tiny_bert(), adapter(tiny_bert())
    made = attached(model, METHODS.get("lorasp")(rank=RANK, alpha=SCALE * RANK), initial)
    for group in made.groups:
        group.theta.detach().fill_(1e3)  # all that trains is moved away
    for name, (a, b, _) in initial.pairs.items():
        layer = model.get_submodule(name)
        for packed, start in ((layer.a, a), (layer.b, b)):
            dense = packed.dense()[0].detach()
            kept = dense != 1e3
            assert int(kept.sum()) == start.numel() // 2 and torch.equal(dense[kept], start[kept])


def test_ranks_and_sites_that_the_adapter_lacks_start_as_ever(tiny_bert: Callable[..., Any]) -> None:
    small = adapter(tiny_bert(), rank=2, target=("query",))
    initial = Initial(RANK, small.pairs, small.head)
    model, fresh = tiny_bert(), tiny_bert()
    method = METHODS.get("lora")(rank=RANK)
    attached(model, method, initial)
    attached(fresh, method, None)
    name = next(iter(initial.pairs))
    ours, drawn = model.get_submodule(name), fresh.get_submodule(name)
    assert torch.equal(ours.a.dense()[0, 2:], drawn.a.dense()[0, 2:]) and not ours.b.dense()[0, :, 2:].any()
    value = name.replace("query", "value")
    assert torch.equal(model.get_submodule(value).a.dense(), fresh.get_submodule(value).a.dense())
    with torch.no_grad():
        found = model.eval()(**BATCH).logits
    torch.testing.assert_close(found, by_hand(tiny_bert(), initial), rtol=0, atol=1e-11)


def test_given_without_a_pair_is_what_was_drawn() -> None:
    drawn = (torch.ones(2, 3), torch.zeros(4, 2))
    assert replace_factors(drawn, None, 1.0) is drawn


def test_a_head_of_another_width_is_drawn_afresh(tiny_bert: Callable[..., Any]) -> None:
    model, fresh, initial = tiny_bert(), tiny_bert(), adapter(tiny_bert(), outputs=3)
    method = METHODS.get("lora")(rank=RANK)
    assert method.fits_initial(tiny_bert(), initial) == ["classifier"]
    assert method.fits_initial(tiny_bert(outputs=3), initial) == []
    heads = [attached(m, method, i).group("head").theta for m, i in ((model, initial), (fresh, None))]
    assert torch.equal(*heads)


def test_only_the_member_with_an_adapter_starts_from_it(tiny_bert: Callable[..., Any]) -> None:
    model, initial, method = tiny_bert(), adapter(tiny_bert()), METHODS.get("lora")(rank=RANK)
    members = [Member(method, Streams(equal(0)), 5, given) for given in (None, initial)]
    head = method.attach(model, members, build_calibration(rows(), compute_replica_losses)).group("head")
    assert head is not None
    heads = head.leaves["classifier.weight"].tensor
    assert torch.equal(heads[1], initial.head["classifier.weight"]) and not torch.equal(heads[0], heads[1])
    name = next(iter(initial.pairs))
    b = model.get_submodule(name).b.dense()
    assert not b[0].any() and b[1].any()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda i: Initial(8, i.pairs, i.head), "rank=4: the adapter of --init-from has rank 8"),
        (lambda i: Initial(4, {"bert.x.query": next(iter(i.pairs.values()))}, {}), "has layer bert.x.query; allowed"),
        (
            lambda i: Initial(4, {n: (a[:, :5], b, s) for n, (a, b, s) in i.pairs.items()}, {}),
            "maps 5 to 32 at bert.encoder.layer.0.attention.self.query; allowed: 32 to 32",
        ),
        (lambda i: Initial(4, {n: (a, b[:, :2], s) for n, (a, b, s) in i.pairs.items()}, {}), "no pair"),
        (lambda i: Initial(4, i.pairs, {"bert.pooler.dense.bias": torch.zeros(32)}), "changes bert.pooler.dense.bias"),
    ],
)
def test_what_does_not_fit_is_refused(change: Any, says: str, tiny_bert: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match=says):
        METHODS.get("lora")(rank=RANK).fits_initial(tiny_bert(), change(adapter(tiny_bert())))


@pytest.mark.parametrize(
    ("name", "options"), [("pissa", {}), ("vera", {}), ("head", {}), ("lorasp", {"select": "snip"})]
)
def test_methods_that_start_from_no_adapter_say_so(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(NotApplicable, match=name):
        METHODS.get(name)(**options).check_initial()
