"""Prompts, answer tokens, packed rows that see only themselves, and replicas that learn as they would alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from harness.core.errors import UserError
from harness.core.method import METHODS, Example, Member, Method, Task
from harness.core.protocol import Protocol
from harness.core.seeds import Streams, equal
from harness.data.task_types.answered_rows import AnsweredRows, fit_into_rows
from harness.data.task_types.instruction import TASK_TYPE, format_prompt
from harness.data.task_types.token_losses import TokenLosses
from harness.replicas.groups import Attached
from harness.training.pack_setup import build_calibration
from harness.training.trainer import Trainer
from methods.layers.lowrank import LowRankLinear
from tests.harness import causal

TASK = Task("made", (), (), ("accuracy",), kind="instruction")
WORDS = "red green blue grey pink".split()
EXAMPLES = [
    Example(
        f"train/{i}", (f"Name colour {i}." + " Now." * (i % 4), f"hint {i}" * (i % 3 > 0)), WORDS[i % 5] * (1 + i % 2)
    )
    for i in range(24)
]


def told(split: AnsweredRows, rows: np.ndarray) -> torch.Tensor:
    """The targets of rows, as a step reads them."""
    return split.targets(split.place(rows), split.shape(rows))


def protocol(**fields: object) -> Protocol:
    # AdamW divides the rounding of a gradient near zero by epsilon
    start = {
        "epsilon": 1e-6,
        "lr": 1e-2,
        "epochs": 100.0,
        "max_steps": 12,
        "batch_size": 4,
        "max_length": 160,
        "template": "plain",
    }
    return Protocol.model_validate(start | fields)


def split(examples: Sequence[Example] = EXAMPLES, **fields: object) -> AnsweredRows:
    made = TASK_TYPE.tokenise(causal.tokenizer(), TASK, examples, protocol(**fields), train=True)
    assert isinstance(made, AnsweredRows)
    return made


def token_losses(model: nn.Module, rows: AnsweredRows) -> list[list[float]]:
    """Each example's losses of its answer tokens, sorted, through a plain cross-entropy; row by row in batches."""
    every = np.arange(len(rows))
    targets = told(rows, every)
    logits = model(**rows.batch(every)).logits
    losses = nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    found = []
    for row in range(len(rows)):
        numbers = np.zeros(targets.shape[1]) if rows.segments is None else rows.segments[row].numpy()
        for number in range(int(numbers.max()) + 1):
            where = torch.from_numpy(numbers == number) & (targets[row] >= 0)
            found.append(losses[row, where].tolist())
    return sorted(found)


def double_mask(rows: AnsweredRows) -> AnsweredRows:
    """Masks in float64 for a float64 model; both steps and whole splits read their rows through `gather`.

    On CPUs torch 2.13 takes a float32 mask beside float64 queries without an error, and its fused kernel then reads the
    mask's bytes as doubles. The harness has no float64 precision, so that only tests can meet this.
    """
    gather = rows.gather
    rows.gather = lambda chosen, shape: {  # type: ignore[method-assign]
        name: value.double() if value.is_floating_point() else value for name, value in gather(chosen, shape).items()
    }
    return rows


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_packed_rows_have_the_losses_of_separate_rows(attention: str) -> None:
    model = causal.model(attention=attention)
    alone, together = split(), split(packed=True)
    if attention == "sdpa":
        double_mask(together)
    assert len(together) < len(alone) / 2 and int(together.lengths.max()) <= 160
    expected, found = token_losses(model, alone), token_losses(model, together)
    assert sum(map(len, expected)) > 100
    # eager attention computes its softmax in float32 whatever the model's precision
    tolerance = 1e-5 if attention == "eager" else 1e-10
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other, one, atol=tolerance, rtol=0)


def test_sdpa_and_eager_agree_on_packed_rows_in_fp32() -> None:
    rows = split(packed=True)
    eager, sdpa = (token_losses(causal.model(torch.float32, a), rows) for a in ("eager", "sdpa"))
    for one, other in zip(eager, sdpa, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5, rtol=0)


def test_best_fit_loses_no_example_and_fills_no_row_beyond_its_room() -> None:
    lengths = np.random.default_rng(0).integers(1, 40, 300).tolist()
    rows = fit_into_rows(lengths, 40)
    assert sorted(i for row in rows for i in row) == list(range(300))
    assert max(sum(lengths[i] for i in row) for row in rows) <= 40
    assert len(rows) <= 1.7 * sum(lengths) / 40 + 1  # the bound of best fit


def test_the_two_alpaca_prompts() -> None:
    bare, full = (
        format_prompt(Example("0", ("Add {x}", ""), "y"), "alpaca"),
        format_prompt(Example("0", ("Add", "1, 2"), "3"), "alpaca"),
    )
    assert bare.startswith("Below is an instruction that describes a task. Write a response")
    assert bare.endswith("\n\n### Instruction:\nAdd {x}\n\n### Response:") and "### Input" not in bare
    assert "paired with an input that provides further context" in full
    assert full.endswith("\n\n### Instruction:\nAdd\n\n### Input:\n1, 2\n\n### Response:")
    assert format_prompt(Example("0", ("Which?", "A. x"), "A"), "plain") == "Which?\nA. x\nAnswer: "


@pytest.mark.parametrize("template", ["alpaca", "plain"])
def test_what_is_learned_is_the_answer_and_the_end(template: str) -> None:
    tokenizer, rows = causal.tokenizer(), split(template=template, max_length=512)
    for i, example in enumerate(EXAMPLES):
        before = tokenizer(format_prompt(example, template))["input_ids"]  # type: ignore[arg-type]
        n = int(rows.lengths[i])
        assert rows.ids[i, : len(before)].tolist() == before
        learned = [t for t in told(rows, np.array([i]))[0].tolist() if t >= 0]
        assert tokenizer.decode(learned) == f"{example.label}</s>" and len(before) + len(learned) == n


def test_a_token_that_spans_prompt_and_answer_is_learned() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {w: i for i, w in enumerate(["<unk>", "Q", "Answer:", "▁", "▁A", "A", "\n"])}
    inner = Tokenizer(models.BPE(words, [("▁", "A")], unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    made = TASK_TYPE.tokenise(
        PreTrainedTokenizerFast(tokenizer_object=inner), TASK, [Example("0", ("Q", ""), "A")], protocol(), train=True
    )
    assert told(made, np.array([0]))[0].tolist()[-2] == words["▁A"]


def test_rows_too_long_are_cut_counted_or_dropped() -> None:
    rows = [
        Example("0", ("Q",), "yes"),
        Example("1", ("Q",), "word " * 20),
        Example("2", ("long " * 30,), "no"),
    ]
    made = split(rows, max_length=30)
    assert made.cut.tolist() == [False, True] and made.example_ids == ["0", "1"]
    assert made.notes == ("dropped: 1 row whose prompt alone is as long as max_length",)
    with pytest.raises(UserError, match="larger --max-length"):
        split(rows[2:], max_length=30)
    together = split(rows, max_length=60, packed=True)
    assert together.cut.tolist() == [False, True] and together.notes[1].startswith("packed: 2 training examples in 2")


def test_losses_are_means_over_own_answer_tokens() -> None:
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 5, 7, generator=rng, dtype=torch.float64)
    targets = torch.randint(0, 7, (6, 5), generator=rng)
    targets[torch.rand(6, 5, generator=rng) < 0.6] = -100
    for smoothing in (0.0, 0.1):
        expected = [
            nn.functional.cross_entropy(a.reshape(-1, 7), b.reshape(-1), label_smoothing=smoothing)
            for a, b in zip(logits.split(3), targets.split(3), strict=True)
        ]
        torch.testing.assert_close(
            TokenLosses(smoothing)(logits, targets, 2), torch.stack(expected), rtol=0, atol=1e-12
        )


def method(name: str, **options: Any) -> Method:
    return METHODS.get(name)(**options)


MIXED = [
    method("lora", rank=8, dropout=0.1),
    method("lorasp", rank=4, target=("query", "key", "value")),
    method("lorasp", rank=8, ratio=0.25, dropout=0.3),
]


def trained(
    model: nn.Module, methods: Sequence[Method], seeds: Sequence[int], **fields: object
) -> tuple[Trainer, Attached]:
    own = protocol(**fields)
    rows = split(**fields) if model.dtype != torch.float64 else double_mask(split(**fields))
    streams = [Streams(equal(s)) for s in seeds]
    losses = TASK_TYPE.losses(own)
    members = [Member(m, s, 12) for m, s in zip(methods, streams, strict=True)]
    attached = methods[0].attach(model, members, build_calibration(rows, losses))
    made = Trainer(model, attached, rows, [own] * len(seeds), streams, losses)
    made.run(lambda members: None, lambda step, losses: None)
    return made, attached


def dense(model: nn.Module, slot: int) -> dict[str, torch.Tensor]:
    pairs = {
        n: (m.a.dense()[slot], m.b.dense()[slot]) for n, m in model.named_modules() if isinstance(m, LowRankLinear)
    }
    return {n: (b.double() @ a.double()).detach() for n, (a, b) in pairs.items()}


@pytest.mark.parametrize("packed", [False, True])
def test_a_pack_trains_as_each_alone_in_fp64_with_dropout(packed: bool) -> None:
    # eager attention computes its softmax in float32 whatever the model's precision
    seeds, together = [0, 1, 1], causal.model(kind="opt", attention="sdpa")
    whole, _ = trained(together, MIXED, seeds, packed=packed)
    for slot, own in enumerate(MIXED):
        model = causal.model(kind="opt", attention="sdpa")
        solo, _ = trained(model, [own], [seeds[slot]], packed=packed)
        theirs = dense(together, slot)
        moved = 0.0
        for name, value in dense(model, 0).items():
            moved = max(moved, float(value.abs().max()))
            torch.testing.assert_close(theirs[name], value, rtol=0, atol=1e-10)
        assert moved > 1e-3
        np.testing.assert_allclose(whole.histories[slot].curve, solo.histories[0].curve, atol=1e-10)
        assert solo.histories[0].curve[-1][1] < solo.histories[0].curve[0][1]


def test_a_pack_over_an_nf4_backbone_trains_as_each_alone(tmp_path: Any) -> None:
    pytest.importorskip("bitsandbytes")
    from harness.core.presets import get_preset
    from harness.models.load import load_model
    from harness.models.source import resolve

    source = resolve(get_preset("quick"), "mmlu", str(causal.save(tmp_path)))

    def load() -> nn.Module:
        return load_model(source, None, quantize="nf4")

    whole, _ = trained(load(), MIXED, [0, 1, 1])
    assert any(type(m).__name__ == "Linear4bit" for m in whole.model.modules())
    for slot, own in enumerate(MIXED):
        solo, _ = trained(load(), [own], [[0, 1, 1][slot]])
        np.testing.assert_allclose(whole.histories[slot].curve, solo.histories[0].curve, atol=1e-3)


def test_predictions_are_mean_losses_in_the_order_of_the_split() -> None:
    model, rows = causal.model(), split()
    found = TASK_TYPE.predict(model, rows, 2, None, protocol(), autocast=False)
    for i in range(len(rows)):
        where = np.array([i])
        ids, targets = rows.batch(where)["input_ids"], told(rows, where)
        labels = torch.cat([torch.tensor([[-100]]), targets[:, :-1]], dim=1)
        expected = float(model(input_ids=ids, labels=labels).loss)
        assert [p.values[i] for p in found] == pytest.approx([expected] * 2, abs=1e-6)


def test_synthetic_rows_are_packed_where_the_run_packs() -> None:
    made = TASK_TYPE.build_synthetic(TASK, protocol(packed=True), 32, 259)
    assert set(made.lengths.tolist()) == {32} and made.segments is not None
    mask = made.batch(np.arange(2))["attention_mask"]
    assert mask.shape == (2, 1, 32, 32)


def test_synthetic_rows_are_full() -> None:
    made = TASK_TYPE.build_synthetic(TASK, protocol(), 32, 259)
    assert len(made) == 16 and set(made.lengths.tolist()) == {32} and int(made.ids.max()) < 259
