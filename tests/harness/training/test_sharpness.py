"""Sharpness against dense Hessians of autograd, scipy's eigsh, and solo runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn

from harness.cli.main import main
from harness.core.method import METHODS, Method
from harness.core.record import Parameters, Record, Sharpness, TopEigenvalue, TrainState
from harness.core.store import Store
from harness.data.task_types.classification import compute_replica_losses
from harness.replicas.groups import Attached
from harness.training import lanczos
from harness.training.history import TrainingHistory
from harness.training.lanczos import find_top_eigenvalues
from harness.training.pack_setup import build_calibration
from harness.training.result import Result, from_plain, to_plain
from harness.training.sharpness import measure_sharpness
from tests.harness.small_training import protocol, rows, trainer

SEED, ROWS = 3, 20


def attach(model: nn.Module, methods: list[Method], seeds: list[int], steps: int) -> tuple[nn.Module, Attached]:
    """A model with methods attached, after some training steps."""
    made, attached = trainer(model, methods, [protocol()] * len(methods), seeds, rows(ROWS))
    for step in range(steps):
        made.train_step(step)
    return made.model, attached


def measure(model: nn.Module, attached: Attached, *, head: bool) -> list[TopEigenvalue | None]:
    return measure_sharpness(model, attached, build_calibration(rows(ROWS), compute_replica_losses), head=head)


class Reference:
    """The loss as a function of a flat vector: dense A and B of a solo model added to the weights of a plain one."""

    def __init__(self, plain: nn.Module, model: Any, attached: Attached, *, head: bool) -> None:
        self.plain = plain.eval()
        self.sites = [n for n, m in model.named_modules() if hasattr(m, "reading")]
        self.scale = {n: float(model.get_submodule(n).scales[0]) for n in self.sites}
        values, trained = {}, []
        for name in self.sites:
            for part in ("a", "b"):
                matrix = getattr(model.get_submodule(name), part)
                values[f"{name}.{part}"] = matrix.dense()[0].detach().clone()
                index = matrix.places
                mask = torch.zeros(matrix.size, dtype=torch.bool)
                mask[slice(None) if index is None else index[0].long()] = True
                trained.append(mask)
        (group,) = (g for g in attached.groups if g.name == "head")
        for name, leaf in group.leaves.items():
            values[name] = leaf.tensor[0].detach().clone()
            trained.append(torch.full((values[name].numel(),), head))
        self.shapes = {name: value.shape for name, value in values.items()}
        self.start = torch.cat([value.flatten() for value in values.values()])
        self.trained = torch.cat(trained).nonzero().flatten()

    def loss(self, free: Tensor) -> Tensor:
        """The mean loss over all rows with the trained entries `free`."""
        flat = self.start.scatter(0, self.trained, free)
        parts = flat.split([shape.numel() for shape in self.shapes.values()])
        values = {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}
        weights = {
            f"{name}.weight": self.plain.get_submodule(name).weight
            + self.scale[name] * values.pop(f"{name}.b") @ values.pop(f"{name}.a")
            for name in self.sites
        }
        split = rows(ROWS)
        batch = split.batch(np.arange(len(split)))
        logits = torch.func.functional_call(self.plain, weights | values, kwargs=batch).logits
        return nn.functional.cross_entropy(logits, split.labels)

    @property
    def free(self) -> Tensor:
        return self.start[self.trained]

    def compute_hessian(self) -> np.ndarray:
        hessian: Tensor = torch.autograd.functional.hessian(self.loss, self.free)  # type: ignore[no-untyped-call]
        return hessian.numpy()

    def find_top(self) -> float:
        """By eigsh on exact Hessian-vector products."""

        def multiply(v: np.ndarray) -> np.ndarray:
            vector = torch.from_numpy(v.ravel())
            product: Tensor = torch.autograd.functional.hvp(self.loss, self.free, vector)[1]  # type: ignore[no-untyped-call]
            return product.numpy()

        size = len(self.trained)
        (top,) = eigsh(LinearOperator((size, size), matvec=multiply, dtype=float), k=1, which="LA")[0]
        return float(top)


def build(name: str) -> Method:
    options = {"lora": {}, "lorasp": {"ratio": 0.5}}[name]
    return METHODS.get(name)(rank=2, target=("value",), **options)


@pytest.mark.parametrize(
    ("name", "steps", "head"),
    [
        pytest.param("lora", 0, False, marks=pytest.mark.slow),
        pytest.param("lora", 15, True, marks=pytest.mark.slow),
        pytest.param("lorasp", 0, True, marks=pytest.mark.slow),
        ("lorasp", 15, False),
    ],
)
def test_eigenvalues_are_those_of_the_dense_hessian(
    name: str, steps: int, head: bool, tiny_bert: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, attached = attach(tiny_bert(), [build(name)], [SEED], steps)
    reference = Reference(tiny_bert(), model, attached, head=head)
    expected = np.linalg.eigvalsh(reference.compute_hessian())
    (found,) = measure(model, attached, head=head)
    assert found is not None and found.residual <= 1e-2
    assert found.eigenvalue == pytest.approx(expected[-1], rel=1e-2)
    assert expected[0] - 1e-9 <= found.lowest < found.eigenvalue
    monkeypatch.setattr(lanczos, "TOLERANCE", 1e-6)
    (found,) = measure(model, attached, head=head)
    assert found is not None and found.eigenvalue == pytest.approx(expected[-1], rel=1e-7)
    assert reference.find_top() == pytest.approx(found.eigenvalue, rel=1e-7)


def test_at_initialization_the_hessian_of_lora_is_indefinite(tiny_bert: Callable[..., nn.Module]) -> None:
    model, attached = attach(tiny_bert(), [build("lora")], [SEED], 0)
    expected = np.linalg.eigvalsh(Reference(tiny_bert(), model, attached, head=False).compute_hessian())
    # power iteration does not converge here: both ends have nearly the same magnitude
    assert -expected[0] == pytest.approx(expected[-1], rel=0.01)


PACK = [("lora", {"rank": 8}), ("lorasp", {}), ("lorasp", {"rank": 4, "ratio": 0.25}), ("loraplus", {"rank": 2})]


@pytest.mark.parametrize("head", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_pack_measures_what_each_replica_measures_alone(head: bool, tiny_bert: Callable[..., nn.Module]) -> None:
    methods, seeds = [METHODS.get(name)(**options) for name, options in PACK], [0, 0, 1, 2]
    packed = measure(*attach(tiny_bert(), methods, seeds, 8), head=head)
    for method, seed, found in zip(methods, seeds, packed, strict=True):
        (alone,) = measure(*attach(tiny_bert(), [method], [seed], 8), head=head)
        assert alone is not None and found is not None and alone.iterations == found.iterations
        assert found.eigenvalue == pytest.approx(alone.eigenvalue, rel=1e-7)


def test_float32_agrees_with_float64(tiny_bert: Callable[..., nn.Module]) -> None:
    model, attached = attach(tiny_bert(), [build("lorasp")], [SEED], 15)
    narrow_model, narrow = attach(tiny_bert(dtype=torch.float32), [build("lorasp")], [SEED], 0)
    for mine, theirs in zip(narrow.groups, attached.groups, strict=True):
        mine.theta.detach().copy_(theirs.theta)
    for head in (False, True):
        ((wide,), (found,)) = (measure(m, a, head=head) for m, a in ((model, attached), (narrow_model, narrow)))
        assert wide is not None and found is not None
        assert found.eigenvalue == pytest.approx(wide.eigenvalue, rel=1e-3)


def test_measuring_changes_nothing(tiny_bert: Callable[..., nn.Module]) -> None:
    model, attached = attach(tiny_bert(), [build("lorasp"), build("lora")], [0, 1], 4)
    model.train()
    before = [group.theta.detach().clone() for group in attached.groups]
    measure(model, attached, head=True)
    assert model.training
    assert all(torch.equal(group.theta, theta) for group, theta in zip(attached.groups, before, strict=True))
    assert not any(group.grad.any() for group in attached.groups)


def test_a_replica_that_diverged_has_none_and_disturbs_no_other(tiny_bert: Callable[..., nn.Module]) -> None:
    methods = [build("lorasp"), build("lora")]
    model, attached = attach(tiny_bert(), methods, [0, 1], 4)
    healthy = measure(model, attached, head=False)
    for group in attached.groups:
        group.theta.detach()[0] = torch.nan
    broken = measure(model, attached, head=False)
    assert broken[0] is None and broken[1] is not None and healthy[1] is not None
    assert broken[1].eigenvalue == pytest.approx(healthy[1].eigenvalue, rel=1e-9)


@pytest.mark.slow
def test_gradients_of_no_function_have_no_hessian(tiny_bert: Callable[..., nn.Module]) -> None:
    """DoRA's backward pass takes the norm of its direction for a constant."""
    model, attached = attach(tiny_bert(), [METHODS.get("dora")()], [SEED], 20)
    assert measure(model, attached, head=False) == [None]


def test_a_method_without_an_adapter_has_the_head_only(tiny_bert: Callable[..., nn.Module]) -> None:
    model, attached = attach(tiny_bert(), [METHODS.get("head")()], [SEED], 0)
    assert measure(model, attached, head=False) == [None]
    (found,) = measure(model, attached, head=True)
    assert found is not None and found.eigenvalue > 0


def test_lanczos_finds_the_largest_eigenvalue_of_each_matrix() -> None:
    rng = np.random.default_rng(0)
    matrices = []
    for shift in (0.0, -5.0, 5.0):
        half = rng.normal(size=(40, 40))
        matrices.append(half + half.T + shift * np.eye(40))
    stacked = torch.from_numpy(np.stack(matrices))
    start = nn.functional.normalize(torch.from_numpy(rng.normal(size=(3, 40))), dim=1)
    top = find_top_eigenvalues(lambda v, factor: torch.bmm(stacked, v[:, :, None])[:, :, 0], start, [True] * 3)
    for matrix, found in zip(matrices, top, strict=True):
        assert found is not None and found.asymmetry < 1e-12
        assert found.eigenvalue == pytest.approx(np.linalg.eigvalsh(matrix)[-1], rel=1e-3)
    skewed = stacked + torch.triu(stacked, 1)
    for found in find_top_eigenvalues(
        lambda v, factor: torch.bmm(skewed, v[:, :, None])[:, :, 0], start, [True, True, False]
    )[:2]:
        assert found is None or found.asymmetry > 0.05
    assert find_top_eigenvalues(lambda v, factor: v, start, [False] * 3) == [None] * 3


def train(out: Path, *words: str) -> dict[str, Record]:
    """Records of short runs on an embedded task, in packs of four."""
    small = "--tasks rte --methods lora,lorasp --seeds 2 --max-steps 4 --train-rows 16 --eval-rows 16 --no-profile"
    assert (
        main(["run", *small.split(), "--out", str(out), "--device", "cpu", "--formats", "csv", "--figures", "", *words])
        == 0
    )
    return Store(out).read()[0]


@pytest.mark.slow
def test_a_run_stores_the_sharpness_and_trains_the_same(tmp_path: Path) -> None:
    plain = train(tmp_path / "out")
    assert all(record.sharpness is None for record in plain.values())
    measured = train(tmp_path / "out", "--sharpness")
    assert plain.keys() == measured.keys() and len(plain) == 4
    for key, record in measured.items():
        assert record.scores == plain[key].scores and record.loss_curve == plain[key].loss_curve
        assert record.sharpness is not None and record.sharpness.rows == 16
        for found in (record.sharpness.before_with_head, record.sharpness.after_with_head, record.sharpness.before):
            assert found is not None and found.eigenvalue > 0 and found.step_change < 0.01
        assert record.sharpness.before != record.sharpness.after
        assert from_plain(to_plain(build_result(record.sharpness))).sharpness == record.sharpness
    # at equal starts the parameters of a mask have a principal submatrix of LoRA's Hessian (Cauchy's interlacing)
    tops = {(r.cell.method, r.cell.seeds["init"]): r.sharpness.before for r in measured.values() if r.sharpness}
    for seed in (0, 1):
        lora, masked = tops["lora", seed], tops["lorasp", seed]
        assert lora and masked and 0 < masked.eigenvalue < lora.eigenvalue
    written = [(tmp_path / "out" / "cells" / f"{key}.json").stat().st_mtime_ns for key in measured]
    assert train(tmp_path / "out", "--sharpness").keys() == measured.keys()
    assert written == [(tmp_path / "out" / "cells" / f"{key}.json").stat().st_mtime_ns for key in measured]


def build_result(sharpness: Sharpness) -> Result:
    parameters = Parameters(adapter_trained=1, adapter_frozen=0, head_trained=0, backbone=1, backbone_trained=0)
    state = TrainState(weights=1, gradients=1, optimizer=2)
    return Result(TrainingHistory(1), {}, None, parameters, state, sharpness=sharpness)


def test_coarse_gradients_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "--tasks", "rte", "--sharpness", "--dtype", "bf16", "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "allowed: --dtype fp32" in " ".join(capsys.readouterr().err.split())
