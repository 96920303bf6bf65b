"""Strategies for entries by a score measured before training (methods/calibration.py)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.core.method import PerSite, Saving, Site, strategy
from methods.selection.entries import score_randomly

STATE: tuple[Saving, ...] = ("trained parameters", "gradient", "optimizer state")


@strategy(
    "magnitude",
    scores="weight",
    unit="channel",
    version=2,
    why="whole columns of A train, but sites that read the same x choose different ones, together no fewer than all",
)
def score_by_magnitude(sites: Sequence[Site], ratio: float, rng: np.random.Generator, scores: PerSite) -> PerSite:
    """Inputs (columns of A) and outputs (rows of B) where the pretrained weight has the largest norm."""
    return scores


@strategy("snip", scores="snip", version=2, paper="arXiv 1810.02340")
def score_by_snip(sites: Sequence[Site], ratio: float, rng: np.random.Generator, scores: PerSite) -> PerSite:
    """Entries to which the loss at the start is most sensitive."""
    return scores


@strategy("fisher", scores="fisher", version=2, paper="arXiv 2111.09839")
def score_by_fisher(sites: Sequence[Site], ratio: float, rng: np.random.Generator, scores: PerSite) -> PerSite:
    """Entries with the largest empirical Fisher information, the diagonal over batches."""
    return scores


@strategy("movement", scores="movement", version=2, paper="arXiv 2005.07683")
def score_by_movement(sites: Sequence[Site], ratio: float, rng: np.random.Generator, scores: PerSite) -> PerSite:
    """Entries that the first steps of training move furthest away from zero."""
    return scores


@strategy(
    "criticality",
    scope="model",
    scores="fisher",
    unit="block",
    version=2,
    saves=(*STATE, "activations", "compute"),
    why="layers that do not train add nothing and are left out; nothing is kept or computed for them",
)
def score_by_criticality(sites: Sequence[Site], ratio: float, rng: np.random.Generator, scores: PerSite) -> PerSite:
    """Whole layers, those with the most Fisher information per entry, as many as come nearest to the ratio."""
    of_layer = _mean_by_layer(sites, scores)
    place = {layer: float(i) for i, layer in enumerate(sorted(of_layer, key=lambda k: (of_layer[k], -k)))}
    return {s.name: (np.full(s.shapes[0], place[s.layer]), np.full(s.shapes[1], place[s.layer])) for s in sites}


@strategy("learned-ratio", scope="model", scores="fisher", version=2, paper="after arXiv 2512.22495")
def score_by_learned_ratio(sites: Sequence[Site], ratio: float, rng: np.random.Generator, scores: PerSite) -> PerSite:
    """Random positions; each layer's share follows its Fisher information per entry.

    The paper's summary says random positions and a learned ratio per layer. That the ratio is learned from the Fisher
    information at the start, and in proportion to it, is our own reading; the paper's definition was not checked.
    """
    share = compute_shares(_mean_by_layer(sites, scores), ratio)
    order = score_randomly(sites, ratio, rng)

    def first(s: Site, shuffled: np.ndarray) -> np.ndarray:
        place = 1 - shuffled + 1 / shuffled.size  # 1/n, 2/n, ... 1 in a random order
        return np.asarray(share[s.layer] / place)

    return {s.name: (first(s, order[s.name][0]), first(s, order[s.name][1])) for s in sites}


def _mean_by_layer(sites: Sequence[Site], scores: PerSite) -> dict[int, float]:
    """Mean score of each layer's entries; over the model, scores of A and of B have a mean of 1 each."""
    layer_scores: dict[int, list[np.ndarray]] = {}
    for s in sites:
        layer_scores.setdefault(s.layer, []).extend(m.ravel() for m in scores[s.name])
    return {layer: float(np.concatenate(parts).mean()) for layer, parts in layer_scores.items()}


def compute_shares(weights: dict[int, float], ratio: float) -> dict[int, float]:
    """Shares with mean `ratio` in proportion to the weights, at most 1; the excess goes to the other layers."""
    share, full = dict.fromkeys(weights, 0.0), set[int]()
    while len(full) < len(weights):
        left = ratio * len(weights) - len(full)
        total = sum(w for k, w in weights.items() if k not in full)
        share |= {
            k: left * (w / total if total else 1 / (len(weights) - len(full)))
            for k, w in weights.items()
            if k not in full
        }
        # A layer above 1 trains fully; the next round distributes its excess to the others.
        over = {k for k, v in share.items() if v > 1 and k not in full}
        share |= dict.fromkeys(over, 1.0)
        full |= over
        if not over:
            break
    return share
