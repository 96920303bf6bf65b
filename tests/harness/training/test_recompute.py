"""Recomputation: the same losses and gradients, and less kept for the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from harness.cli.main import main
from harness.core.cell import Recompute
from harness.core.errors import CellFailed, UserError
from harness.core.method import METHODS, Method
from harness.core.spec_reading import make_spec
from harness.core.store import Store
from harness.data.task_types.classification import LabelledRows, compute_replica_losses
from harness.planning.plan import make_plan
from harness.profiling.activations import measure_saved_activations
from harness.training.pack_setup import attach_methods
from harness.training.recompute import apply_checkpointing, find_blocks
from harness.training.trainer import Trainer
from methods.layers.lowrank import LowRankLinear
from tests.harness.small_training import protocol, rows, trainer
from tests.methods.checks import EVERY
from tests.reports.records import cell

WAYS: tuple[Recompute, ...] = ("none", "selective", "full")
P = 0.1
ANY: dict[str, Any] = {"vocab_size": 50, "num_labels": 2, "pad_token_id": 0}
ENCODER = ANY | {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 32,
}
BART = {f"{part}_{name}": n for part in ("encoder", "decoder") for name, n in (("layers", 2), ("attention_heads", 4))}
BART |= {"encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "d_model": 32, "max_position_embeddings": 32, "dropout": P}
ENDS = {"eos_token_id": 1, "bos_token_id": 2, "decoder_start_token_id": 1, "forced_eos_token_id": None}
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "dropout_rate": P, "classifier_dropout": P}
GPT2 = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 32, "resid_pdrop": P, "attn_pdrop": 0.0}

QV = ("query", "value")
MODELS: dict[str, tuple[dict[str, Any], int, tuple[str, ...] | None]] = {
    "Bert": (ENCODER | {"hidden_dropout_prob": P}, 3, QV),
    "Roberta": (ENCODER | {"hidden_dropout_prob": P}, 3, QV),
    "DistilBert": (ANY | {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 64, "dropout": P}, 3, QV),
    "Albert": (ENCODER | {"embedding_size": 16, "hidden_dropout_prob": P}, 1, QV),
    "MPNet": (ENCODER | {"hidden_dropout_prob": P}, 3, ("q", "v")),
    "DebertaV2": (ENCODER | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}, 3, None),
    "Deberta": (ENCODER | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}, 3, None),
    "T5": (ANY | T5 | {"decoder_start_token_id": 0, "eos_token_id": 1}, 4, ("q", "v")),
    "Bart": (ANY | BART | ENDS, 4, QV),
    "Llama": (ENCODER | {"num_key_value_heads": 2}, 3, QV),
    "GPT2": (ANY | GPT2 | {"bos_token_id": 1, "eos_token_id": 1}, 3, None),
}
"""Configuration; blocks; what low-rank pairs stand beside. None: full fine-tuning of the model instead."""


def make(kind: str) -> nn.Module:
    import transformers

    fields = MODELS[kind][0]
    drops = {} if kind == "GPT2" else {"attention_probs_dropout_prob": 0.0, "attention_dropout": 0.0}
    config = getattr(transformers, f"{kind}Config")(**fields | drops)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return getattr(transformers, f"{kind}ForSequenceClassification")(config).double().requires_grad_(False)  # type: ignore[no-any-return]


def data(kind: str) -> LabelledRows:
    """BART and T5 read the state of the one end token of a row."""
    split = rows()
    split.ids[split.ids == 1] = 2
    split.ids[:, 0] = 1
    return split


def mixed(target: tuple[str, ...]) -> list[Method]:
    """Three replicas, each with another rank and dropout."""
    lora, lorasp = METHODS.get("lora"), METHODS.get("lorasp")
    made = [lora(rank=8, dropout=P, target=target), lorasp(rank=16, target=target)]
    return [*made, lorasp(rank=4, ratio=0.25, dropout=0.3, target=target)]


def prepared(kind: str, how: Recompute, methods: Sequence[Method] | None = None) -> Trainer:
    target = MODELS[kind][2]
    own = methods or (mixed(target) if target else [METHODS.get("full")()])
    model = make(kind).requires_grad_(own[0].trains_backbone)
    made, attached = trainer(model, own, [protocol()] * len(own), list(range(len(own))), data(kind))
    for group in attached.groups:  # B starts at zero, and so would the gradient of A
        with torch.no_grad():
            group.theta += 0.01 * torch.linspace(-1, 1, group.theta.numel(), dtype=torch.float64).view_as(group.theta)
    apply_checkpointing(model, how, attached)
    return made


def step(made: Trainer) -> list[torch.Tensor]:
    """Losses, then the gradient of each group. Torch's own dropout (BART's) draws from the global generator."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        losses = made.losses(0)
        torch.manual_seed(2)
        losses.sum().backward()
    return [losses.detach(), *(g.grad.clone() for g in made.attached.groups)]


def same(kind: str, methods: Sequence[Method] | None = None) -> None:
    plain = step(prepared(kind, "none", methods))
    assert all(float(g.abs().max()) > 0 for g in plain)
    for how in WAYS[1:]:
        for expected, found in zip(plain, step(prepared(kind, how, methods)), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", MODELS)
def test_losses_and_gradients_are_those_of_none(kind: str) -> None:
    same(kind)


@pytest.mark.parametrize("name", [n for n in EVERY if not n.startswith("lorasp-")])
def test_every_method_has_the_gradients_of_none(name: str) -> None:
    same("Bert", [EVERY[name]])


@pytest.mark.parametrize("kind", ["Bert", "T5", "Llama", "GPT2"])
def test_less_is_kept_for_the_backward_pass(kind: str) -> None:
    held = {}
    for how in WAYS:
        made = prepared(kind, how)
        step(made)  # what is made once is no activation
        held[how] = measure_saved_activations(lambda m=made: m.losses(0))  # type: ignore[misc]
    assert held["full"] < held["selective"] < held["none"]


def test_selective_computes_the_backbones_products_once_and_full_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {}
    for how in WAYS:
        made = prepared("Bert", how)
        products = Products()
        with products:
            losses = made.losses(0)
            forward = products.count
            losses.sum().backward()
        counts[how] = (forward, products.count - forward)
    assert len({forward for forward, _ in counts.values()}) == 1
    assert counts["selective"] == counts["none"]
    # all but each block's last linear layer, since recomputation ends with what is needed last, or all of them
    assert 5 * 3 <= counts["full"][1] - counts["none"][1] <= 6 * 3


class Products(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts aten::addmm: linear layers with a bias; a gradient is none of them."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += op is torch.ops.aten.addmm.default
        return op(*args, **(kwargs or {}))


def test_held_bytes_are_those_of_a_closed_form() -> None:
    x, weight = torch.randn(5, 7, dtype=torch.float64), torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    # the product, which exp needs not, is dropped; exp keeps its result, tanh its own, the sum is the result
    assert measure_saved_activations(lambda: (x @ weight).exp().tanh().sum()) == 8 * (15 + 15 + 1)


@pytest.mark.parametrize("how", WAYS)
def test_no_reading_holds_an_input_after_a_step(how: Recompute) -> None:
    made = prepared("Bart", how)
    layers = [m for m in made.model.modules() if isinstance(m, LowRankLinear)]
    losses = made.losses(0)
    assert layers and all(layer.reading._x is None for layer in layers)
    losses.sum().backward()
    assert all(layer.reading._x is None and not layer.reading._made for layer in layers)


@pytest.mark.parametrize("kind", MODELS)
def test_the_blocks_are_found_in_encoder_and_decoder(kind: str) -> None:
    assert len(find_blocks(make(kind))) == MODELS[kind][1]


def test_a_pack_is_attached_with_its_cells_way(tiny_bert: Callable[..., nn.Module]) -> None:
    model = tiny_bert()
    attach_methods(model, [cell(recompute="full")], [METHODS.get("lora")()], rows(), compute_replica_losses)
    assert all("forward" in vars(block) for block in find_blocks(model))


def test_a_model_that_cannot_is_refused(tiny_bert: Callable[..., nn.Module]) -> None:
    model, made = nn.Linear(2, 2), prepared("Bert", "none")
    with pytest.raises(UserError, match="no list of blocks"):
        apply_checkpointing(model, "full", made.attached)
    with pytest.raises(CellFailed, match="allowed: none"):
        attach_methods(
            Unlisted(tiny_bert()),
            [cell(recompute="selective")],
            [METHODS.get("head")()],
            rows(),
            compute_replica_losses,
        )


class Unlisted(nn.Module):
    """A model whose blocks are in no list."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.classifier = nn.Linear(32, 2, dtype=torch.float64)


@pytest.mark.parametrize("quantize", ["int8", "nf4"])
def test_quantized_backbone_in_bf16(quantize: str) -> None:
    pytest.importorskip("bitsandbytes")
    from harness.core.presets import get_preset
    from harness.models.load import load_model
    from harness.models.source import resolve

    found = []
    for how in WAYS:
        model = load_model(resolve(get_preset("quick"), "glue", None), 2, dtype="bf16", quantize=quantize)  # type: ignore[arg-type]
        made, attached = trainer(model, mixed(QV), [protocol()] * 3, [0, 1, 2], rows())
        made.autocast = True
        apply_checkpointing(model, how, attached)
        found.append(step(made))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_an_axis_and_an_override_make_cells_and_keys_without_stay() -> None:
    plan = make_plan(
        make_spec(
            {"tasks": "rte", "seeds": "1", "methods": "lora,lorasp:recompute=full", "recompute": "none,selective"}
        )
    )
    assert [(c.cell.method, c.cell.recompute) for c in plan.cells] == [
        ("lora", "none"),
        ("lora", "selective"),
        ("lorasp", "full"),
    ]
    assert cell().key == cell(recompute="none").key != cell(recompute="full").key
    assert cell(recompute="full").precision == "fp32, full activation checkpointing"


def test_a_run_with_recomputation_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "--tasks", "rte", "--seeds", "1", "--max-steps", "2", "--eval-rows", "20", "--no-profile"]
    axis = ["--recompute", "none,selective,full", "--methods", "lorasp", "--formats", "md", "--figures", ""]
    assert main([*words, *axis, "--out", str(tmp_path)]) == 0
    records, _ = Store(tmp_path).read()
    assert {r.cell.recompute for r in records.values()} == set(WAYS)
    assert len({tuple(r.loss_curve) for r in records.values()}) == 1
    report = (tmp_path / "report" / "report.md").read_text()
    assert "lorasp [recompute=full]" in report and "fp32, selective activation checkpointing" in report


def test_a_wrong_way_is_one_line_and_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--recompute", "ful"], ["--methods", "lora:recompute=ful"]):
        assert main(["run", *words, "--out", str(tmp_path)]) == 2
        (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
        assert "recompute" in line and "none" in line and "selective" in line
