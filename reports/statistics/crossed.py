"""Crossed bootstrap over seeds x examples: how far a paired difference holds for new seeds, new examples, or both."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reports.intervals import LEVEL, no_spread, quantile
from reports.statistics.bootstrap import DRAWS, counts
from reports.statistics.examples import Examples, headline
from reports.statistics.power import Noise
from reports.statistics.student import Student, cochran

if TYPE_CHECKING:
    import numpy as np

CHUNK = 2_000_000
"""Weights held at a time."""


@dataclass(frozen=True)
class Crossed:
    """The mean difference read for three targets; `noise` splits its error into seeds and examples."""

    seeds: Student
    examples: Student | None
    both: Student
    noise: Noise


def resampled(examples: Examples, rng: np.random.Generator, draws: int = DRAWS) -> Any:
    """Headline of each cell on resampled examples [draws, cells]; whole clusters are drawn, each split for itself."""
    import numpy as np

    rows = max(1, CHUNK // max(split.predictions.shape[1] for split in examples.splits))
    parts = []
    for start in range(0, draws, rows):
        size = min(rows, draws - start)
        weights = [counts(rng, size, split.groups)[:, split.clusters] for split in examples.splits]
        parts.append(headline(examples, weights))
    return np.concatenate(parts)


def crossed(
    gaps: Any, on_examples: Any, groups: int, rng: np.random.Generator, shared: Student | None = None
) -> Crossed | None:
    """Mean of paired differences `gaps` [seeds]; `on_examples` [draws, seeds] are the same on resampled examples.

    None of fewer than two seeds or no spread over them. With S seeds and G independent examples:
    variance for new seeds: s² / S of the differences. For new examples: of the resampled means, seeds held. For both:
    their sum less what both count twice, the interaction, which is what a bootstrap of seeds and examples at once
    (Owen 2007, pigeonhole bootstrap) has beyond the sum of the two; never below either one. Bootstrap variances are
    multiplied by n / (n - 1), and what examples add to the seeds is read with Student's t, as few seeds need (see
    bootstrap.studentised). `shared`: the estimate for new seeds where runs share some (see shared_seeds), for which no
    interaction is taken off.
    """
    import numpy as np

    n = len(gaps)
    if n < 2 or no_spread(list(gaps)):
        return None
    value = float(np.mean(gaps))
    seeds = shared or Student(value, float(np.std(gaps, ddof=1)) / math.sqrt(n), n - 1)
    of_seeds = seeds.se**2
    held = float(np.var(on_examples.mean(axis=1)))
    at_once = float(np.var(np.einsum("bs,bs->b", counts(rng, len(on_examples), n) / n, on_examples)))
    of_examples = held * groups / (groups - 1) if groups > 1 else 0.0
    twice = max(0.0, at_once - held - of_seeds * (n - 1) / n) * n / (n - 1)
    total = max(of_seeds, of_examples, of_seeds + of_examples - (0.0 if shared else twice))
    df = _df(seeds, total, max(1, groups - 1))
    return Crossed(
        seeds=seeds,
        examples=Student(value, math.sqrt(of_examples), groups - 1) if of_examples > 0 else None,
        both=Student(value, math.sqrt(total), df),
        noise=Noise(of_seeds * (seeds.df + 1), max(0.0, total - of_seeds), max(1, groups - 1)),
    )


def _df(seeds: Student, total: float, free: int) -> float:
    """Degrees of freedom of seeds and of what examples add (`free`): the interval is never narrower than seeds'."""
    from scipy.special import stdtridf

    own = seeds.se**2
    df = float(cochran([own, total - own], [seeds.df, free]))
    least = seeds.half / math.sqrt(total)
    return df if quantile(df) >= least else float(stdtridf(0.5 + LEVEL / 2, least))
