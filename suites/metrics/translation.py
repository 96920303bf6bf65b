"""BLEU, chrF2 and TER by sacrebleu (arXiv 1804.08771), over a whole test set; sacrebleu is imported on first use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from harness.core.metric import METRICS, Metric

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric as Scorer

# Romanian texts write these letters with a cedilla or a comma below; only the comma is correct.
CEDILLA = {"Ş": "Ș", "ş": "ș", "Ţ": "Ț", "ţ": "ț"}
# The literature removes diacritics, because part of the training text lacks them.
PLAIN = {"Ș": "S", "ș": "s", "Ț": "T", "ț": "t", "Ă": "A", "ă": "a", "Â": "A", "â": "a", "Î": "I", "î": "i"}
_TABLES = (str.maketrans(CEDILLA), str.maketrans(PLAIN))


def normalize_romanian(text: str) -> str:
    """Romanian as the literature scores it (arXiv 1606.02891): cedillas become commas, then diacritics go."""
    for table in _TABLES:
        text = text.translate(table)
    return text


class Sacrebleu(Metric):
    """A corpus metric of sacrebleu at its defaults, over a whole test set; it has no weighted form."""

    reads = "texts"
    normalizes: ClassVar[bool] = False

    def make_scorer(self) -> Scorer:
        """A fresh metric object of sacrebleu, which remembers the references that it has scored."""
        raise NotImplementedError

    def compute(self, predictions: Any, references: Any) -> float:
        return self.compute_corpus(predictions, references)[0]

    def compute_corpus(self, hypotheses: Sequence[str], references: Sequence[str]) -> tuple[float, str]:
        """The corpus score in points, and sacrebleu's signature of how it was computed."""
        sides = [list(hypotheses), list(references)]
        if self.normalizes:
            sides = [list(map(normalize_romanian, side)) for side in sides]
        scorer = self.make_scorer()
        value = float(scorer.corpus_score(sides[0], [sides[1]]).score)
        return value, str(scorer.get_signature().format())

    def signature(self) -> str:
        """sacrebleu's signature for one reference a sentence."""
        return self.compute_corpus(["a"], ["a"])[1]


@METRICS.register("bleu")
class Bleu(Sacrebleu):
    """BLEU-4 with the tokenizer 13a."""

    name = "bleu"

    def make_scorer(self) -> Scorer:
        from sacrebleu.metrics.bleu import BLEU

        return BLEU()


@METRICS.register("bleu_normalised")
class BleuNormalised(Bleu):
    """BLEU of texts that went through `normalize_romanian`."""

    name = "bleu_normalised"
    normalizes = True


@METRICS.register("chrf2")
class Chrf2(Sacrebleu):
    """chrF2: character n-grams to 6, recall counts twice."""

    name = "chrf2"

    def make_scorer(self) -> Scorer:
        from sacrebleu.metrics.chrf import CHRF

        return CHRF()


@METRICS.register("ter")
class Ter(Sacrebleu):
    """Translation edit rate: the lower the better."""

    name = "ter"

    def make_scorer(self) -> Scorer:
        from sacrebleu.metrics.ter import TER

        return TER()
