"""BLEU, chrF2 and TER by sacrebleu (arXiv 1804.08771), over a whole test set; sacrebleu is imported when asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric

NORMALISED = "_normalised"
"""Ends the name of a metric whose texts go through `normalised` first."""

CEDILLA = {"Ş": "Ș", "ş": "ș", "Ţ": "Ț", "ţ": "ț"}
PLAIN = {"Ș": "S", "ș": "s", "Ț": "T", "ț": "t", "Ă": "A", "ă": "a", "Â": "A", "â": "a", "Î": "I", "î": "i"}
_TABLES = (str.maketrans(CEDILLA), str.maketrans(PLAIN))


def normalize_romanian(text: str) -> str:
    """Romanian as the literature scores it (arXiv 1606.02891): cedillas become commas, then diacritics go."""
    for table in _TABLES:
        text = text.translate(table)
    return text


def make_metric(name: str) -> Metric:
    """A fresh metric of sacrebleu at its defaults: BLEU-4 with the 13a tokenizer, chrF2, TER."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF
    from sacrebleu.metrics.ter import TER

    instance: Metric = {"bleu": BLEU, "chrf2": CHRF, "ter": TER}[name.removesuffix(NORMALISED)]()
    return instance


def score(name: str, hypotheses: Sequence[str], references: Sequence[str]) -> tuple[float, str]:
    """The corpus score in points and sacrebleu's signature of how it was computed; TER is the better the lower."""
    if name.endswith(NORMALISED):
        hypotheses, references = ([normalize_romanian(text) for text in texts] for texts in (hypotheses, references))
    sacrebleu_metric = make_metric(name)
    value = float(sacrebleu_metric.corpus_score(list(hypotheses), [list(references)]).score)
    return value, str(sacrebleu_metric.get_signature().format())


def list_signatures(names: Sequence[str]) -> Mapping[str, str]:
    """sacrebleu's signature of each metric, for one reference a sentence."""
    return {name: score(name, ["a"], ["a"])[1] for name in names}
