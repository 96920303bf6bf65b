"""The nine GLUE tasks as their official files have them; class ids are the hub's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from suites.sources import mrpc
from suites.sources.layouts import Columns, Layout


def _ids(*names: str) -> dict[str, int]:
    """A label is written by its name or by its class id."""
    return {**{name: number for number, name in enumerate(names)}, **_numbers(len(names))}


def _numbers(count: int) -> dict[str, int]:
    return {str(number): number for number in range(count)}


def _headers(official: Columns, *hub_texts: str) -> Sequence[Columns]:
    """Accepted headers: official, hub, and that of the generated data."""
    generated = ("text",) if len(official.texts) == 1 else ("text_a", "text_b")
    found = [official, Columns(hub_texts or official.texts, "label"), Columns(generated, "label")]
    return list(dict.fromkeys(found))


ENTAILMENT = _ids("entailment", "not_entailment")
PAIR = ("sentence1", "sentence2")

LAYOUTS: Mapping[str, Layout] = {
    "cola": Layout(
        "CoLA",
        tuple(_headers(Columns(("sentence",), "label"))),
        _numbers(2),
        bare=("source", "label", "original mark", "sentence"),
    ),
    "sst2": Layout("SST-2", tuple(_headers(Columns(("sentence",), "label"))), _numbers(2)),
    "mrpc": Layout(
        "MRPC",
        tuple(_headers(Columns(("#1 String", "#2 String"), "Quality"), *PAIR)),
        _numbers(2),
        recover=mrpc.from_release,
    ),
    "stsb": Layout("STS-B", tuple(_headers(Columns(PAIR, "score"))), {}),
    "qqp": Layout(
        "QQP",
        tuple(_headers(Columns(("question1", "question2"), "is_duplicate"))),
        _numbers(2),
        bare=("id", "qid1", "qid2", "question1", "question2", "is_duplicate"),
        broken=0.001,
    ),
    "mnli": Layout(
        "MNLI",
        tuple(_headers(Columns(PAIR, "gold_label"), "premise", "hypothesis")),
        _ids("entailment", "neutral", "contradiction"),
        unlabelled="-",
    ),
    "qnli": Layout("QNLI", tuple(_headers(Columns(("question", "sentence"), "label"))), ENTAILMENT),
    "rte": Layout("RTE", tuple(_headers(Columns(PAIR, "label"))), ENTAILMENT),
    "wnli": Layout("WNLI", tuple(_headers(Columns(PAIR, "label"))), _numbers(2)),
}
