"""Agreement, order and articles of both languages, on one statement worded by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scripts.embedded.wmt16 import romanian
from scripts.embedded.wmt16.clauses import Clause, Phrase, Statement
from scripts.embedded.wmt16.wording import render_statement

CLAUSE = Clause(
    Phrase("dog", False, "big", False), "chase", Phrase("horse", True, None, True), "barn", True, False, False, "today"
)


@pytest.fixture(autouse=True)
def stems(monkeypatch: pytest.MonkeyPatch) -> None:
    stems = {"dog": "câin", "horse": "iep", "big": "mar", "chase": "fugăr", "barn": "șur"}
    monkeypatch.setattr(romanian, "draw_genders", lambda: {"dog": "m", "horse": "f", "barn": "f"})
    monkeypatch.setattr(romanian, "build_lexicon", lambda: stems)
    monkeypatch.setattr("scripts.embedded.wmt16.wording.build_lexicon", lambda: stems)


@pytest.mark.parametrize(
    ("change", "english", "other"),
    [
        (
            {},
            "the big dog chased these horses near the barn today.",
            "astăzi câinul mar a fugărit aceste iepe lângă șura.",
        ),
        (
            {"past": False, "when": "now", "denied": True},
            "the big dog does not chase these horses near the barn now.",
            "acum câinul mar nu fugărește aceste iepe lângă șura.",
        ),
        (
            {"passive": True, "place": None, "when": None},
            "these horses were chased by the big dog.",
            "aceste iepe au fost fugărite de câinul mar.",
        ),
        (
            {"actor": Phrase("horse", True, "big", False), "patient": Phrase("dog", True, None, False), "place": None},
            "the big horses chased the dogs today.",
            "astăzi iepele mare au fugărit câinii.",
        ),
    ],
)
def test_wording(change: dict[str, object], english: str, other: str) -> None:
    said = Statement(replace(CLAUSE, **change))  # type: ignore[arg-type]
    assert render_statement(said, "en") == english
    assert render_statement(said, "ro") == other


def test_telegram_has_bare_words_in_english_order() -> None:
    said = Statement(replace(CLAUSE, denied=True), "but", replace(CLAUSE, place=None))
    assert render_statement(said, "en", brief=True) == "big dog no chase horses barn but big dog chase horses."
    assert render_statement(said, "ro", brief=True) == "mar câin nu fugăr iepe șur dar mar câin fugăr iepe."
