"""Layouts of the official files of the nine GLUE tasks; class ids are those of the hub's nyu-mll/glue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from suites.sources import mrpc
from suites.sources.layouts import Columns, FileLayout


def _map_labels(*names: str) -> dict[str, int]:
    """Class id by label, which a file may write as a name or as an id."""
    return {**{name: number for number, name in enumerate(names)}, **_map_numbers(len(names))}


def _map_numbers(count: int) -> dict[str, int]:
    """Class id by label for files that write ids only."""
    return {str(number): number for number in range(count)}


def _list_headers(official: Columns, *hub_texts: str) -> Sequence[Columns]:
    """Accepted headers: the official one, the hub's, and that of the generated data."""
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
        # The official file has no header.
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
        # The official train file has three broken rows in 363,849.
        broken=0.001,
    ),
    "mnli": FileLayout(
        "MNLI",
        tuple(_list_headers(Columns(PAIR, "gold_label"), "premise", "hypothesis")),
        _map_labels("entailment", "neutral", "contradiction"),
        # The mark of rows on which SNLI-style annotators did not agree.
        unlabelled="-",
    ),
    # QNLI's and RTE's files write labels by name, which the hub numbers from entailment = 0.
    "qnli": FileLayout("QNLI", tuple(_list_headers(Columns(("question", "sentence"), "label"))), ENTAILMENT),
    "rte": FileLayout("RTE", tuple(_list_headers(Columns(PAIR, "label"))), ENTAILMENT),
    "wnli": FileLayout("WNLI", tuple(_list_headers(Columns(PAIR, "label"))), _map_numbers(2)),
}
