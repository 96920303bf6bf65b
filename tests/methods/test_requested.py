"""What strategies request (weights, start values, inputs) against plain transformers with hooks, row by row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.cli.main import main
from harness.core.errors import CellFailed, NotApplicable, UserError
from harness.core.method import METHODS, STRATEGIES, InputStatistics, Masks, Member, PerSite, Site, strategy
from harness.core.presets import get_preset
from harness.core.seeds import Streams, equal
from harness.data.task_types.answered_rows import build_packed_inputs
from harness.data.task_types.classification import compute_replica_losses
from harness.data.task_types.token_losses import TokenLosses
from harness.models.load import load_model
from harness.models.source import resolve
from harness.training.pack_setup import CALIBRATION_ROWS, build_calibration
from methods import requested
from methods.requested import FrozenWeights, add_costs, find_tokens, measure_inputs
from tests.harness import language
from tests.harness.small_training import rows
from tests.harness.test_plugins import SMALL, registered, write
from tests.methods.checks import watch_masks

LORASP = METHODS.get("lorasp")
LOUD = '''
import numpy as np
from harness.contracts import strategy


@strategy("loud")
def loud(sites, ratio, rng, starts, inputs):
    """Entries of A that add most to A x; all of B alike."""
    return {s.name: (abs(starts[s.name][0]) * inputs[s.name].norm, np.ones(s.shapes[1])) for s in sites}
'''


def list_rows(kind: str) -> tuple[Any, Any, list[dict[str, Tensor]]]:
    """A split, its losses, and the model inputs of each calibration row alone, cut to its own length by hand."""
    split: Any = rows(200) if kind == "bert" else language.rows(kind)
    chosen = np.random.default_rng(0).permutation(len(split))[:CALIBRATION_ROWS]
    alone = []
    for row in chosen:
        inputs = {"input_ids": split.ids[row : row + 1, : split.lengths[row]].long()}
        if kind in ("t5", "bart", "mbart"):
            told = split.written[row : row + 1, : split.written_lengths[row] - 1].long()
            inputs["decoder_input_ids"] = torch.cat([torch.tensor([[split.start]]), told], 1)
        alone.append(inputs)
    return split, compute_replica_losses if kind == "bert" else TokenLosses(), alone


def watch_inputs(model: nn.Module, names: list[str], batches: list[dict[str, Tensor]]) -> dict[str, np.ndarray]:
    """[tokens, d_in] that each layer reads, from a plain forward pass for each row."""
    seen: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for name in names:
        keep = seen[name]
        model.get_submodule(name).register_forward_hook(
            lambda module, arguments, output, keep=keep: keep.append(arguments[0][0].numpy())
        )
    with torch.no_grad():
        for inputs in batches:
            model(**inputs)
    return {name: np.concatenate(parts) for name, parts in seen.items()}


@pytest.mark.parametrize("kind", ["bert", "t5", "bart", "mbart", "llama"])
def test_inputs_are_those_of_each_row_alone_without_padding(kind: str, tiny_bert: Callable[..., nn.Module]) -> None:
    """Of the encoder, of the decoder, and of the layers of cross-attention that read the encoder's output."""
    make = tiny_bert if kind == "bert" else lambda **_: language.make_model(kind)
    split, losses, alone = list_rows(kind)
    model = make().train()
    linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    names = [name for name in linears if "layer" in name or "block" in name]
    found = measure_inputs(model, names, build_calibration(split, losses))
    assert model.training and not any(module._forward_pre_hooks for module in model.modules())
    for name, x in watch_inputs(make().eval(), names, alone).items():
        assert found[name].tokens == len(x)
        np.testing.assert_allclose(found[name].mean, x.mean(0), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found[name].mean_square, (x**2).mean(0), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found[name].norm, np.linalg.norm(x, axis=0), rtol=1e-9, atol=1e-12)


def test_tokens_of_packed_rows_end_with_the_last_target() -> None:
    segments = torch.tensor([[0, 0, 0, 1, 1, 2, 2]])  # two instructions, then padding as a segment of its own
    labels = torch.tensor([[-100, 7, -100, 8, -100, -100, -100]])
    (mask,) = find_tokens(build_packed_inputs(segments), labels)
    assert mask.tolist() == [[True] * 4 + [False] * 3]


def test_a_layer_that_reads_no_tokens_fails_by_name(tiny_bert: Callable[..., nn.Module]) -> None:
    with pytest.raises(CellFailed, match=r"bert\.pooler\.dense"):  # reads one vector a row
        measure_inputs(tiny_bert(), ["bert.pooler.dense"], build_calibration(rows(), compute_replica_losses))


@pytest.mark.parametrize("quantize", ["none", "int8", "nf4"])
def test_weights_are_dequantized_and_read_only(quantize: str) -> None:
    functional = pytest.importorskip("bitsandbytes").functional
    model = load_model(resolve(get_preset("quick"), "glue", None), 2, quantize=quantize)
    (name, *others) = [n for n, _ in model.named_modules() if n.endswith(("query", "value"))]
    weight: Any = model.get_submodule(name).weight
    dense = {
        "none": lambda: weight,
        "int8": lambda: weight.CB.float() * weight.SCB[:, None] / 127,
        "nf4": lambda: functional.dequantize_4bit(weight.data, weight.quant_state),
    }[quantize]()
    weights = FrozenWeights(model, [name, *others])
    np.testing.assert_allclose(weights[name], dense.detach().float().numpy(), rtol=1e-6, atol=1e-8)
    assert list(weights) == [name, *others] and len(weights) == 1 + len(others)
    with pytest.raises(KeyError):
        weights["classifier"]
    with pytest.raises(ValueError, match="read-only"):
        weights[name][0, 0] = 1.0


def select_half(order: np.ndarray) -> np.ndarray:
    """The upper half of numbers without ties."""
    return np.asarray(order > np.median(order))


def attach(
    select: str, model: nn.Module, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> tuple[Masks, dict[str, tuple[Tensor, Tensor]]]:
    """The masks of one replica on 128 of 200 rows, and its start values."""
    seen = watch_masks(monkeypatch)
    method = LORASP(select=select, rank=4, **options)
    calibration = build_calibration(rows(200), compute_replica_losses)
    attached = method.attach(model, [Member(method, Streams(equal(3)))], calibration)
    cost = attached.collect_extra(0)
    assert cost.get("calibration_rows") == (128 if select == "wanda" else None)
    ((masks, starts),) = seen
    return masks, starts


def test_wanda_selects_by_weight_and_input(
    tiny_bert: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    masks, _ = attach("wanda", tiny_bert(), monkeypatch)
    model = tiny_bert().eval()
    inputs = watch_inputs(model, list(masks), list_rows("bert")[2])
    assert len(masks) == 4
    for name, (a, b) in masks.items():
        weight: Any = model.get_submodule(name).weight
        scores = np.abs(weight.numpy()) * np.linalg.norm(inputs[name], axis=0)
        assert (a == select_half(np.linalg.norm(scores, axis=0))).all()
        assert (b == select_half(np.linalg.norm(scores, axis=1))[:, None]).all()


def test_wanda_with_equal_inputs_is_magnitude() -> None:
    rng = np.random.default_rng(0)
    weights = {"q": rng.standard_normal((5, 7))}
    sites = [Site("q", 7, 5, 3, 0)]
    inputs = {"q": InputStatistics(11, np.zeros(7), np.full(7, 4.0))}
    a, b = STRATEGIES.get("wanda").order(sites, 0.5, rng, weights=weights, inputs=inputs)["q"]
    np.testing.assert_allclose(a, np.tile(np.linalg.norm(weights["q"], axis=0), (3, 1)) * np.sqrt(44))
    np.testing.assert_allclose(b, np.tile(np.linalg.norm(weights["q"], axis=1)[:, None], (1, 3)) * np.sqrt(44))


@pytest.mark.parametrize("zero", ["a", "b"])
def test_weight_column_selects_entries_by_start_and_weight(
    zero: str, tiny_bert: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    masks, starts = attach("weight-column", tiny_bert(), monkeypatch, zero=zero)
    for name, (mask_a, mask_b) in masks.items():
        weight: Any = tiny_bert().get_submodule(name).weight.numpy()  # type: ignore[operator,union-attr]
        a, b = (m.numpy() for m in starts[name])
        columns, outputs = np.sqrt((weight**2).sum(0)), np.sqrt((weight**2).sum(1))
        if zero == "b":
            order_a = np.einsum("rj,j->rj", np.abs(a), columns)
            order_b = np.einsum("i,r->ir", outputs, np.sqrt((a**2).mean(1)))
        else:
            order_a = np.einsum("r,j->rj", np.sqrt((b**2).mean(0)), columns)
            order_b = np.einsum("ir,i->ir", np.abs(b), outputs)
        assert (mask_a == select_half(order_a)).all() and (mask_b == select_half(order_b)).all()


def test_inputs_are_measured_once_for_a_pack_and_only_if_requested(
    tiny_bert: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []
    measure = requested.measure_inputs
    monkeypatch.setattr(requested, "measure_inputs", lambda m, names, c: calls.append(names) or measure(m, names, c))
    calibration = build_calibration(rows(), compute_replica_losses)

    def attach_all(*selects: str) -> list[dict[str, Any]]:
        calls.clear()
        methods = [LORASP(select=name, target=("query",)) for name in selects]
        attached = methods[0].attach(
            tiny_bert(), [Member(m, Streams(equal(i))) for i, m in enumerate(methods)], calibration
        )
        return [attached.collect_extra(slot) for slot in range(len(methods))]

    assert [e.get("calibration_rows") for e in attach_all("random", "weight-column", "snip")] == [None, None, 44]
    assert calls == []
    extra = attach_all("wanda", "random", "wanda", "fisher")
    assert [e.get("calibration_rows") for e in extra] == [44, None, 44, 44] and len(calls) == 1


def test_costs_of_two_measurements_add_up() -> None:
    cost = {"calibration_seconds": 2.0, "calibration_rows": 44.0}
    assert add_costs(cost, cost) == {"calibration_seconds": 4.0, "calibration_rows": 44.0}
    assert add_costs({}, cost) == add_costs(cost, {}) == cost and add_costs({}, {}) == {}


def test_a_strategy_may_have_scores_and_requests(tiny_bert: Callable[..., nn.Module]) -> None:
    def both(sites: Any, ratio: float, rng: Any, fisher: PerSite, *, weights: Any) -> PerSite:
        assert set(fisher) == set(weights) == {s.name for s in sites}
        return fisher

    with registered():
        strategy("both", scores="fisher")(both)
        assert STRATEGIES.get("both").requests == ("weights",)
        masks = attach_plain("both", tiny_bert())
    expected = attach_plain("fisher", tiny_bert())
    assert all((x == y).all() for n in masks for x, y in zip(masks[n], expected[n], strict=True))


def attach_plain(select: str, model: nn.Module) -> Masks:
    with pytest.MonkeyPatch.context() as patch:
        seen = watch_masks(patch)
        method = LORASP(select=select)
        calibration = build_calibration(rows(), compute_replica_losses)
        method.attach(model, [Member(method, Streams(equal(3)))], calibration)
    return seen[0][0]


def test_a_plugin_requests_by_the_names_of_its_parameters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = ["--plugin", str(write(tmp_path / "loud.py", LOUD))]
    with registered():
        words = ["--methods", "lorasp-loud,lorasp", *plugin, *SMALL]
        assert main(["plan", *words[:-1]]) == 0 and "lorasp:select=loud" in capsys.readouterr().out
        assert main(["run", *words, "--out", str(tmp_path / "out")]) == 0
        assert main(["strategies", "show", "loud", *plugin]) == 0
    assert "reads before training: starts, inputs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("parameter", "says"),
    [
        ("weight", "has a parameter 'weight'; allowed after sites, ratio and rng: starts, weights, inputs"),
        ("scores", '(scores need @strategy(..., scores="fisher"))'),
    ],
)
def test_a_parameter_with_another_name_is_refused(
    parameter: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = write(tmp_path / "loud.py", LOUD.replace("starts, inputs", f"starts, {parameter}"))
    with registered():
        assert main(["strategies", "--plugin", str(plugin)]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (
            "@strategy('odd')\ndef odd():",
            "takes (): too many positional arguments; it is called with (sites, ratio, rng)",
        ),
        (
            "@strategy('odd', scores='fisher')\ndef odd(sites, ratio, rng):",
            "is called with (sites, ratio, rng, scores)",
        ),
        ("@strategy('odd')\ndef odd(sites, ratio, rng, weights=None):", "parameter 'weights' has a default"),
        ("@strategy('odd', unit='pair')\ndef odd(sites, ratio, rng):", "unit='pair': allowed: entry, row"),
        ("@strategy('odd', scope='all')\ndef odd(sites, ratio, rng):", "scope='all': allowed: matrix, pair, model"),
        ("@strategy('odd', scores='taylor')\ndef odd(sites, ratio, rng, scores):", "scores='taylor': allowed: weight"),
    ],
)
def test_a_strategy_that_cannot_be_called_is_refused_when_it_registers(
    head: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = write(tmp_path / "odd.py", f"from harness.contracts import strategy\n\n\n{head}\n    pass\n")
    with registered():
        assert main(["strategies", "--plugin", str(plugin)]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_what_does_not_go_with_requests_is_refused() -> None:
    for select in ("wanda", "weight-column"):
        with pytest.raises(NotApplicable, match=f"select={select}"):
            LORASP(select=select, resample=4).check()
    with pytest.raises(NotApplicable, match="inputs are measured without an adapter"):
        LORASP(select="wanda").check_initial()
    LORASP(select="weight-column").check_initial()


def test_a_ratio_without_a_whole_unit_is_refused_from_shapes(tiny_bert: Callable[..., nn.Module]) -> None:
    LORASP(select="wanda").fits(tiny_bert().to("meta"))
    with pytest.raises(UserError, match=r"ratio=0\.01: leaves none of 32 channels"):
        LORASP(select="wanda", ratio=0.01).fits(tiny_bert().to("meta"))
