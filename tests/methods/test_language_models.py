"""Every registered method on an encoder-decoder and on a causal model: it trains, or says why it cannot."""

from __future__ import annotations

import pytest
import torch

from harness.core.errors import NotApplicable
from harness.core.method import METHODS
from harness.data.task_types.generation import generate_texts
from tests.harness.data.task_types.test_translation import Plain
from tests.harness.language import make_model, protocol, rows, targets, trainer

NAMES = METHODS.names()
CANNOT = {
    "t5": {"head", "prompt", "prefix", "bitfit"},  # T5 has no biases
    "marian": {"head", "prompt", "prefix"},
    "llama": {"head", "prefix", "bitfit"},
}
ON_EACH = {"lora", "lorasp", "full"}
"""Methods that train on each kind of model; the others on T5, and with the slow tests on each."""
CASES = [
    pytest.param(kind, name, marks=[] if kind == "t5" or name in ON_EACH | CANNOT[kind] else pytest.mark.slow)
    for kind in CANNOT
    for name in NAMES
]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_it_trains_or_says_that_it_is_not_applicable(kind: str, name: str) -> None:
    model = make_model(kind, dtype=torch.float32, width=32)
    short = {"rank": 4} if "rank" in METHODS.get(name).__dataclass_fields__ else {}  # type: ignore[attr-defined]
    method = METHODS.get(name)(**short)
    if name in CANNOT[kind]:
        with pytest.raises(NotApplicable, match=f"^{name}: .+; use"):
            method.fits(model)
        return
    method.fits(model)
    split = rows(kind, count=8)
    made, attached = trainer(model, [method], [protocol(max_steps=25, batch_size=8, lr=2e-2)], [0], split)
    losses: list[float] = []
    while len(losses) < 25:
        losses.append(float(made.train_step(len(losses))[0]))
    assert losses[-1] < losses[0] - 0.01, losses
    assert attached.group("head") is None
    texts = generate_texts(made.model, split, 1, Plain(), protocol(beams=2), autocast=False)[0]
    assert len(texts) == 8 and any(texts)


def test_full_trains_tied_weights_once_and_keeps_them_tied() -> None:
    model = make_model("t5")
    distinct = sum(p.numel() for p in model.parameters())
    made, attached = trainer(model, [METHODS.get("full")()], [protocol(max_steps=3)], [0], rows("t5"))
    assert attached.count("backbone", 0) == distinct == attached.groups[0].theta.numel()
    before = model.shared.weight.detach().clone()  # type: ignore[union-attr]
    for step in range(3):
        made.train_step(step)
    tied = [model.shared, model.lm_head, model.encoder.embed_tokens, model.decoder.embed_tokens]  # type: ignore[union-attr]
    assert len({m.weight.data_ptr() for m in tied}) == 1  # type: ignore[union-attr]
    assert not torch.equal(model.shared.weight, before)  # type: ignore[union-attr]
    assert all(g.theta.untyped_storage().data_ptr() for g in attached.groups)


def test_full_moves_tied_weights_as_torch_does() -> None:
    """One AdamW step of ours and of torch.optim on the same tied model."""
    model, other = make_model("t5"), make_model("t5").requires_grad_(True).train()
    own = protocol(max_steps=1, warmup=0.0, weight_decay=0.0, clip=1e9, lr=1e-3, batch_size=24)
    made, _ = trainer(model, [METHODS.get("full")()], [own], [0], rows("t5"))
    order = made.order.at(0)
    made.train_step(0)
    batch, labels = rows("t5").batch(order), targets(rows("t5"), order)
    optimizer = torch.optim.AdamW(other.parameters(), lr=1e-3, weight_decay=0.0)
    logits = other(**batch).logits
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100).backward()
    optimizer.step()
    theirs = dict(other.named_parameters())
    for name, value in model.named_parameters():
        torch.testing.assert_close(value, theirs[name], rtol=0, atol=1e-9, msg=name)
