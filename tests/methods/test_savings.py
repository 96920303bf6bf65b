"""What a strategy says that it saves, measured against LoRA: no less, and on a mask without luck no more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from harness.core.method import METHODS, STRATEGIES, Method, PerSite, Saving
from methods.lowrank import LowRank
from scripts.footprint import OUT, format_table, measure_methods, measure_step_cost
from tests.harness.small_training import protocol, rows

SCORED = [name for name, strategy in STRATEGIES if strategy.scores not in (None, "weight")]


def cost(method: Method, model: nn.Module) -> dict[str, int]:
    return measure_step_cost(method, model, rows(), protocol(max_steps=2))


def saved(select: str, model: Callable[..., nn.Module]) -> set[str]:
    lora = cost(METHODS.get("lora")(), model(dropout=0.1))
    own = cost(METHODS.get("lorasp")(select=select), model(dropout=0.1))
    assert set(own) == set(get_args(Saving)) and all(own[what] <= lora[what] for what in own)
    return {what for what in lora if own[what] < lora[what]}


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_what_a_strategy_claims_it_saves(name: str, tiny_bert: Callable[..., nn.Module]) -> None:
    found, strategy = saved(name, tiny_bert), STRATEGIES.get(name)
    assert found >= set(strategy.saves) >= {"trained parameters", "gradient", "optimizer state"} and strategy.why
    # scores of 32 columns leave some out by chance; the next test takes that chance away
    assert found == set(strategy.saves) or name in SCORED


@pytest.mark.parametrize("name", SCORED)
def test_a_score_without_pattern_saves_what_is_claimed_and_no_more(
    name: str, tiny_bert: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    def scores(kind: str, sums: object, starts: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> PerSite:
        rng = np.random.default_rng(0)
        return {n: (rng.random(tuple(a.shape)), rng.random(tuple(b.shape))) for n, (a, b) in starts.items()}

    monkeypatch.setattr("methods.calibration.compute_gradient_scores", scores)
    assert saved(name, tiny_bert) == set(STRATEGIES.get(name).saves)


def test_half_of_the_entries_is_half_of_the_state_to_the_byte(tiny_bert: Callable[..., nn.Module]) -> None:
    lora, half = (cost(METHODS.get(n)(), tiny_bert(dtype=torch.float32)) for n in ("lora", "lorasp"))
    count = 4 * 16 * (32 + 32)  # four sites of rank 16
    assert (lora["trained parameters"], lora["gradient"], lora["optimizer state"]) == (count, 4 * count, 8 * count)
    for what in ("trained parameters", "gradient", "optimizer state"):
        assert 2 * half[what] == lora[what]


KEPT: dict[str, Callable[[int, int, int], int]] = {
    "lora": lambda sites, d, r: sites // 2 * d + sites * r,
    "lora-fa": lambda sites, d, r: sites * r,
    "lorasp-a-only": lambda sites, d, r: sites // 2 * d,
    "lorasp-b-only": lambda sites, d, r: sites * r,
    "lorasp-column": lambda sites, d, r: sites // 2 * d // 2 + sites * r,
    "lorasp-rank": lambda sites, d, r: sites // 2 * d + sites * r // 2,
    "lorasp-random": lambda sites, d, r: sites // 2 * d + sites * r,
}
"""Numbers a token that the pairs keep, where query and value of a layer read the same x: by hand."""


@pytest.mark.parametrize("name", KEPT)
def test_activations_follow_the_closed_form(name: str, tiny_bert: Callable[..., nn.Module]) -> None:
    sites, d, r, tokens = 4, 32, 16, 8 * 12
    method = METHODS.get(name)() if name in METHODS else METHODS.get("lorasp")(select=name.removeprefix("lorasp-"))
    assert isinstance(method, LowRank)
    lora = cost(METHODS.get("lora")(), tiny_bert())["activations"]
    own = cost(method, tiny_bert())["activations"]
    assert lora - own == 8 * tokens * (KEPT["lora"](sites, d, r) - KEPT[name](sites, d, r))


@pytest.mark.slow
def test_the_shipped_figures_are_those_measured_here() -> None:
    """Exact but for what torch's own operations keep and count; python -m scripts.footprint writes them anew."""
    lines = [line.split("\t") for line in format_table(measure_methods()).splitlines()]
    shipped = [line.split("\t") for line in OUT.read_text().splitlines()]
    assert [(line[:4]) for line in lines] == [line[:4] for line in shipped]
    for found, stored in zip(lines[1:], shipped[1:], strict=True):
        assert [int(v) for v in found[4:]] == pytest.approx([int(v) for v in stored[4:]], rel=0.02), found[0]
