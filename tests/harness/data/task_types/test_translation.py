"""Rows of language models against transformers' own shift and loss, and replicas of a pack against solo runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers.trainer_pt_utils import LabelSmoother

from harness.core.cell import ModelRef
from harness.core.errors import UserError
from harness.core.method import METHODS, SUITES, Method
from harness.data.task_types.generation import generate_texts
from harness.data.task_types.text_rows import IGNORED
from harness.data.task_types.token_losses import TokenLosses
from harness.data.task_types.translation import TASK_TYPE, find_decoder_start
from harness.models.load import load_model, load_tokenizer
from harness.models.source import ModelSource
from methods.layers.lowrank import LowRankLinear
from tests.harness.language import EOS, EXAMPLES, PAD, config, make_model, protocol, rows, save_model, targets, trainer

SEQ2SEQ = ["t5", "bart", "marian", "mbart"]
ALL = [*SEQ2SEQ, "llama"]
EVERY_ROW = np.arange(24)
EN_RO = SUITES.get("wmt16").tasks["en-ro"]


class Plain:
    """What generation asks of a tokenizer; a text is its ids."""

    eos_token_id, pad_token_id = EOS, PAD

    def batch_decode(self, ids: torch.Tensor, **_: object) -> list[str]:
        return [" ".join(str(i) for i in row if i not in (EOS, PAD)) for row in ids.tolist()]


def method(name: str, **options: object) -> Method:
    return METHODS.get(name)(**options)


@pytest.mark.parametrize("kind", SEQ2SEQ)
def test_the_decoder_reads_what_the_models_own_rule_gives(kind: str) -> None:
    split = rows(kind)
    expected = make_model(kind).prepare_decoder_input_ids_from_labels(targets(split, EVERY_ROW))  # type: ignore[operator]
    found = split.batch(EVERY_ROW)["decoder_input_ids"]
    used = targets(split, EVERY_ROW) != IGNORED
    assert torch.equal(found[used], expected[used])
    assert rows(kind).start == find_decoder_start(config(kind), [7, EOS])  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ALL)
def test_the_loss_is_the_models_own(kind: str) -> None:
    split, model = rows(kind), make_model(kind).eval()
    batch, told = split.batch(EVERY_ROW), targets(split, EVERY_ROW)
    if kind == "llama":
        own = batch["input_ids"].clone()
        own[:, 1:] = told[:, :-1]
        own[:, 0] = IGNORED
        expected = model(**batch, labels=own).loss
    else:
        expected = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=told).loss
    found = TokenLosses()(model(**batch).logits, told, 1)
    atol = 1e-6 if kind == "llama" else 1e-12  # transformers computes it in float32
    torch.testing.assert_close(found[0], expected.double(), rtol=0, atol=atol)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_each_replica_has_the_mean_over_its_own_tokens(smoothing: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 5, 11, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 11, (6, 5), generator=generator)
    labels[torch.tensor([[0, 1, 4, 3, 0, 2]]).T + torch.arange(5) >= 5] = IGNORED
    found = TokenLosses(smoothing)(logits, labels, 2)
    for replica, part in enumerate((slice(0, 3), slice(3, 6))):
        smoothed = LabelSmoother(epsilon=smoothing)({"logits": logits[part]}, labels[part])
        torch.testing.assert_close(found[replica], smoothed, rtol=0, atol=1e-6)  # it sums in float32
        flat = nn.functional.cross_entropy(
            logits[part].flatten(0, 1), labels[part].flatten(), ignore_index=IGNORED, label_smoothing=smoothing
        )
        torch.testing.assert_close(found[replica], flat, rtol=0, atol=1e-12)


MIXED = [
    (method("lora", rank=4, dropout=0.1), protocol(lr=2e-2, label_smoothing=0.1)),
    (method("lorasp", rank=8), protocol(lr=1e-2, label_smoothing=0.1)),
    (method("lorasp", rank=4, ratio=0.25), protocol(lr=3e-2, label_smoothing=0.1)),
]


def logits(model: nn.Module, kind: str, k: int) -> torch.Tensor:
    batch = {n: v.repeat(k, 1) for n, v in rows(kind, seed=1).batch(EVERY_ROW).items()}
    with torch.no_grad():
        found: torch.Tensor = model.eval()(**batch).logits
    return found.view(k, 24, found.shape[1], -1)


@pytest.mark.parametrize("kind", ALL)
def test_a_pack_trains_and_writes_as_each_replica_alone(kind: str) -> None:
    """fp64, every dropout on, lora and lorasp mixed; greedy and with four beams."""
    packed, _ = trainer(make_model(kind, 0.1), [m for m, _ in MIXED], [p for _, p in MIXED], [0, 1, 2], rows(kind))
    found: dict[str, Any] = {}

    def finished(members: object) -> None:
        found["logits"] = logits(packed.model, kind, 3)
        for beams in (1, 4):
            own = protocol(beams=beams)
            found[str(beams)] = generate_texts(packed.model, rows(kind, seed=1), 3, Plain(), own, autocast=False)

    packed.run(finished, lambda *_: None)
    base = logits(make_model(kind), kind, 1)[0]
    for i, (own_method, own_protocol) in enumerate(MIXED):
        alone, _ = trainer(make_model(kind, 0.1), [own_method], [own_protocol], [i], rows(kind))
        alone.run(lambda _: None, lambda *_: None)
        mine = logits(alone.model, kind, 1)[0]
        assert float((mine - base).abs().max()) > 1e-3  # it has learnt something
        assert float((mine - found["logits"][i]).abs().max()) < 1e-10
        for beams in (1, 4):
            told = generate_texts(alone.model, rows(kind, seed=1), 1, Plain(), protocol(beams=beams), autocast=False)
            assert told[0] == found[str(beams)][i]
    assert found["1"][0] != found["1"][1] and found["1"] != found["4"]


@pytest.mark.parametrize("kind", ["t5", "llama"])
def test_on_a_backbone_in_nf4_a_pack_trains_as_each_replica_alone(kind: str, tmp_path: Path) -> None:
    """float32 on four-bit weights: every update B A within 1e-4. (In evaluation bitsandbytes rounds to bfloat16.)"""
    pytest.importorskip("bitsandbytes")
    folder = save_model(tmp_path, kind, dropout=0.1, width=64)  # bitsandbytes' blocks are 64 long
    source = ModelSource(kind, folder, ModelRef(name=kind, revision="0"), "as stored", False)
    methods = [m for m, _ in MIXED]
    own = protocol(max_steps=5)
    packed, _ = trainer(load_model(source, None, quantize="nf4"), methods, [own] * 3, [0, 1, 2], rows(kind))
    packed.run(lambda _: None, lambda *_: None)
    assert any("4bit" in type(m).__name__ for m in packed.model.modules())
    for i, each in enumerate(methods):
        alone, _ = trainer(load_model(source, None, quantize="nf4"), [each], [own], [i], rows(kind))
        alone.run(lambda _: None, lambda *_: None)
        mine, theirs = updates(alone.model, 0), updates(packed.model, i)
        assert len(mine) == len(theirs) >= 4 and all(float(u.abs().max()) > 1e-3 for u in mine)
        for a, b in zip(mine, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


def updates(model: nn.Module, replica: int) -> list[torch.Tensor]:
    """B A of one replica at each site."""
    layers = [m for m in model.modules() if isinstance(m, LowRankLinear)]
    return [layer.b.dense()[replica] @ layer.a.dense()[replica] for layer in layers]


@pytest.mark.parametrize("kind", ["t5", "llama"])
@pytest.mark.parametrize("beams", [1, 3])
def test_what_is_written_is_what_generate_writes_for_one_row(kind: str, beams: int) -> None:
    model, split = make_model(kind).eval(), rows(kind)
    found = generate_texts(model, split, 1, Plain(), protocol(beams=beams), autocast=False)[0]
    for i in range(8):
        n = int(split.prompt_lengths[i])
        ids = split.ids[i : i + 1, :n].long()  # type: ignore[attr-defined]
        plain = {"attention_mask": torch.ones_like(ids), "num_beams": beams, "do_sample": False}
        out = model.generate(ids, max_new_tokens=8, **plain)  # type: ignore[operator]
        assert found[i] == Plain().batch_decode(out[:, n:] if kind == "llama" else out)[0]
    assert any(found)


@pytest.mark.parametrize("kind", ["t5", "llama"])
def test_a_diverged_replica_is_told_and_leaves_the_others_words(kind: str) -> None:
    texts = []
    for poison in (False, True):
        made, attached = trainer(make_model(kind), [method("lora", rank=4)] * 2, [protocol()] * 2, [0, 1], rows(kind))
        if poison:
            attached.groups[0].theta.data[1] = float("nan")
        told = TASK_TYPE.predict(made.model, rows(kind), 2, Plain(), protocol(beams=2), autocast=False)
        assert [p.finite for p in told] == [True, not poison]
        texts.append(told[0].columns["prediction"])
    assert texts[0] == texts[1]


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = {}
    for kind in ("t5", "marian", "llama"):
        folder = save_model(tmp_path_factory.mktemp(kind), kind)
        made[kind] = load_tokenizer(ModelSource(kind, folder, ModelRef(name=kind, revision="0"), "as stored", False))
    return made


def test_sources_and_targets_are_what_the_tokenizer_gives(tokenizers: Any) -> None:
    tokenizer = tokenizers["t5"]
    split: Any = TASK_TYPE.tokenise(tokenizer, EN_RO, EXAMPLES, protocol(max_length=6, max_target_length=5), train=True)
    batch = split.batch(np.array([2, 0]))
    assert batch["input_ids"][0].tolist() == [*tokenizer("the cat sleeps .")["input_ids"], PAD]
    assert batch["attention_mask"].tolist() == [[1] * 5 + [0], [1] * 6]
    assert batch["input_ids"][1, -1] == EOS  # cut, and still ended
    words = tokenizer("pisica doarme .", add_special_tokens=False)["input_ids"]
    assert batch["decoder_input_ids"][0].tolist() == [PAD, *words, EOS]
    assert targets(split, np.array([2, 0]))[0].tolist() == [*words, EOS, IGNORED]
    assert split.references.tolist() == [e.label for e in EXAMPLES]
    assert split.cut.tolist() == [True, True, False, False, False, True, True, True]


def test_a_causal_model_reads_the_source_and_learns_the_target_only(tokenizers: Any) -> None:
    tokenizer = tokenizers["llama"]
    split: Any = TASK_TYPE.tokenise(tokenizer, EN_RO, EXAMPLES, protocol(max_length=8, max_target_length=8), train=True)
    newline = tokenizer("\n", add_special_tokens=False)["input_ids"]
    source = tokenizer("the cat sleeps .", add_special_tokens=False)["input_ids"]
    target = tokenizer("pisica doarme .", add_special_tokens=False)["input_ids"]
    batch = split.batch(np.array([2]))
    assert batch["input_ids"][0].tolist() == [*source, *newline, *target, EOS]
    assert targets(split, np.array([2]))[0].tolist() == [IGNORED] * len(source) + [*target, EOS, IGNORED]
    prompts = split.build_prompts(np.array([2, 0]))
    gap = prompts["input_ids"].shape[1] - len(source) - 1
    assert gap == 2 and prompts["input_ids"][0].tolist() == [PAD] * gap + [*source, *newline]
    assert prompts["attention_mask"][0].tolist() == [0] * gap + [1] * (len(source) + 1)


def test_too_few_positions_are_refused_in_one_line(tokenizers: Any) -> None:
    for kind, says in (("marian", "need 65 positions, the model has 64"), ("llama", "need 74 positions")):
        with pytest.raises(UserError, match=says):
            TASK_TYPE.tokenise(tokenizers[kind], EN_RO, EXAMPLES, protocol(max_length=65), train=True)
    TASK_TYPE.tokenise(tokenizers["t5"], EN_RO, EXAMPLES, protocol(max_length=1000), train=True)
