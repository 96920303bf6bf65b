"""The nine GLUE tasks as their official files have them; class ids are the hub's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from suites.sources import mrpc
from suites.sources.layouts import Columns, FileLayout


def _map_labels(*names: str) -> dict[str, int]:
    """A label is written by its name or by its class id."""
    return {**{name: number for number, name in enumerate(names)}, **_map_numbers(len(names))}


def _map_numbers(count: int) -> dict[str, int]:
    return {str(number): number for number in range(count)}


def _list_headers(official: Columns, *hub_texts: str) -> Sequence[Columns]:
    """Accepted headers: official, hub, and that of the generated data."""
    generated = ("text",) if len(official.texts) == 1 else ("text_a", "text_b")
    headers = [official, Columns(hub_texts or official.texts, "label"), Columns(generated, "label")]
    return list(dict.fromkeys(headers))


ENTAILMENT = _map_labels("entailment", "not_entailment")
PAIR = ("sentence1", "sentence2")

LAYOUTS: Mapping[str, FileLayout] = {
    "cola": FileLayout(
        "CoLA",
        tuple(_list_headers(Columns(("sentence",), "label"))),
        _map_numbers(2),
        bare=("source", "label", "original mark", "sentence"),
    ),
    "sst2": FileLayout("SST-2", tuple(_list_headers(Columns(("sentence",), "label"))), _map_numbers(2)),
    "mrpc": FileLayout(
        "MRPC",
        tuple(_list_headers(Columns(("#1 String", "#2 String"), "Quality"), *PAIR)),
        _map_numbers(2),
        recover=mrpc.read_release,
    ),
    "stsb": FileLayout("STS-B", tuple(_list_headers(Columns(PAIR, "score"))), {}),
    "qqp": FileLayout(
        "QQP",
        tuple(_list_headers(Columns(("question1", "question2"), "is_duplicate"))),
        _map_numbers(2),
        bare=("id", "qid1", "qid2", "question1", "question2", "is_duplicate"),
        broken=0.001,
    ),
    "mnli": FileLayout(
        "MNLI",
        tuple(_list_headers(Columns(PAIR, "gold_label"), "premise", "hypothesis")),
        _map_labels("entailment", "neutral", "contradiction"),
        unlabelled="-",
    ),
    "qnli": FileLayout("QNLI", tuple(_list_headers(Columns(("question", "sentence"), "label"))), ENTAILMENT),
    "rte": FileLayout("RTE", tuple(_list_headers(Columns(PAIR, "label"))), ENTAILMENT),
    "wnli": FileLayout("WNLI", tuple(_list_headers(Columns(PAIR, "label"))), _map_numbers(2)),
}
