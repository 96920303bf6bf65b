"""A layer that reads what all replicas share is never split among them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from harness.core.errors import CellFailed
from harness.core.method import METHODS, Calibration, Member
from harness.core.seeds import Streams, equal
from methods.layers.replicas import check_rows

NO_ROWS = Calibration([], lambda logits, labels, k: logits)


def deberta() -> Any:
    """A DeBERTa whose query and key also read the table of relative positions."""
    from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

    config = DebertaV2Config(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
        type_vocab_size=0,
        relative_attention=True,
        position_buckets=8,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return DebertaV2ForSequenceClassification(config).requires_grad_(False).eval()


@pytest.mark.parametrize("name", ["lora", "bitfit"])
def test_replicas_of_deberta_refuse_to_share_a_pass(name: str) -> None:
    """The table has 16 rows, so two replicas could split it without an error, and each would get half."""
    ids = torch.randint(3, 40, (4, 6), generator=torch.Generator().manual_seed(0))
    method = METHODS.get(name)()
    model = deberta()
    method.attach(model, [Member(method, Streams(equal(seed)), 5) for seed in (0, 1)], NO_ROWS)
    with pytest.raises(CellFailed):
        model(input_ids=ids, attention_mask=torch.ones_like(ids))
    alone = deberta()
    method.attach(alone, [Member(method, Streams(equal(0)), 5)], NO_ROWS)
    assert alone(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.shape == (4, 2)


def test_rows_of_several_replicas_are_those_of_each() -> None:
    check_rows(torch.zeros(6, 3), 3)
    check_rows(torch.zeros(1, 3), 1)
    for x, k in ((torch.zeros(1, 8, 3), 2), (torch.nn.Parameter(torch.zeros(8, 3)), 2)):
        with pytest.raises(CellFailed):
            check_rows(x, k)
