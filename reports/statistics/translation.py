"""Paired tests of translations, one seed pair at a time, by sacrebleu's own significance module."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.errors import UserError


@dataclass(frozen=True)
class TranslationTest:
    """One metric of one seed pair; scores in sacrebleu's points. `p` is two-sided and for these examples only."""

    metric: str
    first: float
    method: float
    p: float


def paired_translation(
    first: Sequence[str],
    method: Sequence[str],
    references: Sequence[str],
    test: Literal["ar", "bs"] = "ar",
    samples: int = 1000,
) -> tuple[TranslationTest, ...]:
    """BLEU and chrF of two systems' hypotheses [n]; test 'ar': approximate randomisation, 'bs': paired bootstrap.

    sacrebleu reads its seed from SACREBLEU_SEED and has a fixed one of its own. Raises UserError where sacrebleu is
    not installed or the lengths differ.
    """
    if importlib.util.find_spec("sacrebleu") is None:
        raise UserError("tests of translations need sacrebleu, which is not installed; pip install sacrebleu")
    if not len(first) == len(method) == len(references):
        raise UserError(
            f"{len(first)} and {len(method)} hypotheses for {len(references)} references; give one for each"
        )
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF
    from sacrebleu.significance import PairedTest

    metrics: dict[str, Any] = {
        "BLEU": BLEU(references=[list(references)]),
        "chrF2": CHRF(references=[list(references)]),
    }
    systems: list[Any] = [("first", list(first)), ("method", list(method))]
    found: Any
    _, found = PairedTest(systems, metrics, references=None, test_type=test, n_samples=samples)()
    made = []
    for name in metrics:
        base, other = found[name]
        made.append(TranslationTest(name, float(base.score), float(other.score), float(other.p_value)))
    return tuple(made)
