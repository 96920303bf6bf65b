"""Seeds x examples: how far a paired difference holds for new seeds, new examples, or both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reports.statistics.power import Noise
from reports.statistics.student import CONFIDENCE, Student, compute_cochran_df, compute_t_quantile, has_no_spread


@dataclass(frozen=True)
class CrossedEstimate:
    """The mean difference read for three targets; `noise` splits its error into seeds and examples."""

    seeds: Student
    examples: Student | None
    both: Student
    noise: Noise


@dataclass(frozen=True)
class ExampleVariance:
    """What new examples add to a mean over S seeds, in points squared.

    `mean`: variance of the mean over seeds. `apart`: that of a seed's difference less the mean, summed over seeds.
    """

    mean: float
    apart: float


def estimate_example_variance(differences: Any) -> ExampleVariance:
    """From influences of the paired differences [units, seeds] (see evidence.Evidence)."""
    import numpy as np

    means = differences.mean(axis=1)
    of_mean = float(means @ means)
    every = float(np.einsum("us,us->", differences, differences))
    # rounding may make the difference negative where all seeds agree
    return ExampleVariance(of_mean, max(0.0, every - differences.shape[1] * of_mean))


def estimate_crossed(
    gaps: Sequence[float], examples: ExampleVariance, groups: int, shared: Student | None = None
) -> CrossedEstimate | None:
    """Mean of paired differences `gaps` [seeds], `examples` being what new examples add, of `groups` independent ones.

    None of fewer than two seeds or no spread over them. Variance for new seeds: s² / S of the differences. For new
    examples: `examples.mean`. For both: their sum less what both count twice, the interaction: `examples.apart` over
    S (S - 1), which is the limit of a bootstrap of seeds and examples at once (pigeonhole bootstrap, Owen 2007); never
    below either one. `shared`: the estimate for new seeds where runs share some (see shared_seeds), for which no
    interaction is taken off.
    """
    import numpy as np

    n = len(gaps)
    if n < 2 or has_no_spread(list(gaps)):
        return None
    value = float(np.mean(gaps))
    seeds = shared or Student(value, float(np.std(gaps, ddof=1)) / math.sqrt(n), n - 1)
    of_seeds, of_examples = seeds.se**2, examples.mean
    twice = 0.0 if shared else examples.apart / (n * (n - 1))
    total = max(of_seeds, of_examples, of_seeds + of_examples - twice)
    df = _compute_df(seeds, total, max(1, groups - 1))
    return CrossedEstimate(
        seeds=seeds,
        examples=Student(value, math.sqrt(of_examples), groups - 1) if of_examples > 0 and groups > 1 else None,
        both=Student(value, math.sqrt(total), df),
        # what the examples add does not shrink with more seeds: it is the floor
        noise=Noise(of_seeds * (seeds.df + 1), max(0.0, total - of_seeds), max(1, groups - 1)),
    )


def _compute_df(seeds: Student, total: float, free: int) -> float:
    """Degrees of freedom of seeds and of what examples add (`free`): the interval is never narrower than seeds'."""
    from scipy.special import stdtridf

    seed_variance = seeds.se**2
    df = float(compute_cochran_df([seed_variance, total - seed_variance], [seeds.df, free]))
    least = seeds.half / math.sqrt(total)
    return df if compute_t_quantile(df) >= least else float(stdtridf(0.5 + CONFIDENCE / 2, least))
