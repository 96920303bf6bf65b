"""Losses without whole logits equal those from logits, for each type of model that is listed to have a linear head."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.data.task_types.token_losses import TokenLosses
from harness.models.output_layer import LINEAR_HEADS, find_output_layer
from harness.training.losses import compute_losses
from tests.harness import causal

SIZES: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 24,
    "ffn_dim": 24,
    "word_embed_proj_dim": 8,
    "max_position_embeddings": 16,
    "pad_token_id": 0,
}


def build(kind: str, **fields: Any) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = AutoConfig.for_model(kind, **SIZES | fields)
        model: nn.Module = AutoModelForCausalLM.from_config(config)
    return model.eval()


def draw_batch() -> tuple[dict[str, Tensor], Tensor]:
    ids = torch.randint(1, 40, (4, 6), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    targets = torch.cat([ids[:, 1:], torch.full((4, 1), -100)], 1).masked_fill(mask == 0, -100)
    return {"input_ids": ids, "attention_mask": mask}, targets


@pytest.mark.parametrize("kind", sorted(LINEAR_HEADS))
def test_losses_and_gradients_do_not_depend_on_the_way(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, (batch, targets) = build(kind), draw_batch()
    assert find_output_layer(model) is not None
    calls: list[str] = []
    real = TokenLosses.from_hidden
    monkeypatch.setattr(TokenLosses, "from_hidden", lambda self, *a: (calls.append("hidden"), real(self, *a))[1])
    losses = compute_losses(model, TokenLosses(), batch, targets, 1, torch.enable_grad())
    expected = nn.functional.cross_entropy(model(**batch).logits.flatten(0, 1), targets.flatten())
    assert calls == ["hidden"]
    torch.testing.assert_close(losses, expected[None], rtol=1e-6, atol=0)
    names, leaves = zip(*model.named_parameters(), strict=True)
    gradients, wanted = (torch.autograd.grad(loss.sum(), leaves, allow_unused=True) for loss in (losses, expected))
    for name, gradient, reference in zip(names, gradients, wanted, strict=True):
        assert (gradient is None) == (reference is None), name
        if reference is not None and gradient is not None:
            torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=1e-6, msg=name)


def test_a_model_that_scales_its_logits_keeps_them() -> None:
    model, (batch, targets) = build("cohere", logit_scale=0.5), draw_batch()
    assert find_output_layer(model) is None
    losses = compute_losses(model, TokenLosses(), batch, targets, 1, torch.enable_grad())
    expected = nn.functional.cross_entropy(model(**batch).logits.flatten(0, 1), targets.flatten())
    torch.testing.assert_close(losses, expected[None])


def test_a_watched_or_replaced_head_keeps_its_logits() -> None:
    model = causal.model()
    assert find_output_layer(model) is not None
    handle = model.register_forward_hook(lambda *_: None)
    assert find_output_layer(model) is None
    handle.remove()
    model.lm_head.forward = lambda x: x
    assert find_output_layer(model) is None


def test_a_classifier_has_no_such_layer() -> None:
    from transformers import BertConfig, BertForSequenceClassification

    assert find_output_layer(BertForSequenceClassification(BertConfig(num_hidden_layers=1))) is None
