"""What figures are laid out by: dots and names that hide nothing, ticks that fit, colours that everyone tells apart."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from reports.plots.cost import MEMORY_PARTS
from reports.plots.labels import spread_centres
from reports.plots.panels import choose_ticks, compute_swarm
from reports.plots.style import PALETTE, wrap_name


def test_palette_is_told_apart_with_each_kind_of_colour_blindness() -> None:
    """The colours that figures set beside each other, seen as Machado et al. (2009) model it at full severity."""
    deficiencies = {
        "protanopia": [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        "deuteranopia": [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
        "tritanopia": [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ],
    }
    for matrix in deficiencies.values():
        for colours in (PALETTE[:2], [shade for _, shade in MEMORY_PARTS]):
            seen_colours = [_convert_to_lab(np.array(matrix) @ _linearize(to_rgb(colour))) for colour in colours]
            distances = [np.linalg.norm(a - b) for a, b in itertools.combinations(seen_colours, 2)]
            assert min(distances) > 15  # a difference of 2.3 is just noticeable


def _linearize(colour: tuple[float, float, float]) -> np.ndarray:
    values = np.array(colour)
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _convert_to_lab(linear: np.ndarray) -> np.ndarray:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(linear, 0, 1) / np.array([0.9505, 1.0, 1.089])
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_dots_of_a_row_do_not_hide_each_other() -> None:
    rng = np.random.default_rng(0)
    values = [float(x) for x in rng.normal(0, 1, 30)]
    offsets = compute_swarm(values, 0.2, 10.0)
    assert max(map(abs, offsets)) <= 10.0
    for (a, x), (b, y) in itertools.combinations(zip(values, offsets, strict=True), 2):
        assert abs(a - b) >= 0.2 or x != y
    assert len(set(compute_swarm([1.0] * 9, 0.2, 0.3))) == 9


def test_names_are_spread_in_order_without_overlap() -> None:
    rng = np.random.default_rng(0)
    for count in (1, 5, 14):
        wanted = sorted((float(x) for x in rng.normal(100, 5, count)), reverse=True)
        centres = spread_centres(wanted, [12.0] * count, 0.0, 200.0)
        assert all(a - b >= 12.0 - 1e-9 for a, b in itertools.pairwise(centres))
        assert centres[0] <= 194.0 and centres[-1] >= 6.0
    assert spread_centres([90.0, 50.0], [12.0, 12.0], 0.0, 100.0) == [90.0, 50.0]


@pytest.mark.parametrize(("low", "high"), [(-24.0, 5.0), (0.0, 34000.0), (81.9, 82.3), (-0.4, 0.4), (0, 1e-3)])
def test_ticks_give_a_scale_and_fit(low: float, high: float) -> None:
    ticks = choose_ticks(low, high, 12.0)
    assert len(ticks) >= 2 and all(low <= tick <= high for tick in ticks)
    longest = max(len(f"{tick:g}") for tick in ticks)
    assert len(ticks) == 2 or (ticks[1] - ticks[0]) / (high - low) * 12 >= longest + 1


def test_a_long_name_is_wrapped_and_complete() -> None:
    name = "lorasp:ratio=0.25,select=magnitude,targets=all-linear"
    lines = wrap_name(name, 20).split("\n")
    assert "".join(lines) == name and max(map(len, lines)) <= 20
    assert "".join(wrap_name("x" * 200, 20).split("\n")) == "x" * 200 and wrap_name("lora", 20) == "lora"
