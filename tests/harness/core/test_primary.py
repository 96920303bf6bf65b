"""The grammar of declared comparisons."""

from __future__ import annotations

import pytest

from harness.core.errors import UserError
from harness.core.primary import check_primary, parse_primary
from harness.core.spec_reading import make_spec


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("lorasp vs lora", (("lorasp", "lora"),)),
        (" lorasp  vs lora ,full vs lora", (("lorasp", "lora"), ("full", "lora"))),
        ("lorasp vs lora:rank=8", (("lorasp", "lora:rank=8"),)),
        ("lorasp:select=row,ratio=0.25 vs lora", (("lorasp:ratio=0.25,select=row", "lora"),)),
        (
            "lorasp:select=row,ratio=0.25 vs lora:rank=8,alpha=4, full vs lora",
            (("lorasp:ratio=0.25,select=row", "lora:alpha=4,rank=8"), ("full", "lora")),
        ),
    ],
)
def test_pairs(text: str, pairs: tuple[tuple[str, str], ...]) -> None:
    assert parse_primary(text) == pairs
    assert make_spec({"primary": text}).primary == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is no comparison of two methods"),
        ("lorasp", "'lorasp' is no comparison of two methods"),
        ("lorasp vs", "no comparison of two methods"),
        ("a vs b vs c", "'a, b, c' is no comparison of two methods"),
        ("a vs b,", "no comparison of two methods"),
        ("a vs a", "'a vs a' compares a method with itself"),
        ("a vs b, b vs a", "'b vs a' is declared twice"),
        ("rank=8 vs lora", "'rank=8, lora'|no comparison|no method"),
    ],
)
def test_what_is_no_comparison_is_one_line(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        check_primary(text, ["a", "b", "c", "lora"])
    assert "\n" not in str(error.value)


def test_a_missing_method_is_told_with_what_there_is() -> None:
    with pytest.raises(UserError) as error:
        check_primary("lorasp vs dora", ["lora", "lorasp"])
    assert str(error.value) == "--primary: this run has no method 'dora'; name one of its methods: lora, lorasp"


def test_a_declaration_changes_no_folder() -> None:
    plain = make_spec({}).folder
    assert make_spec({"primary": "lorasp vs lora"}).folder == plain
    assert make_spec({"collapse_margin": 5.0}).folder == plain


@pytest.mark.parametrize("margin", ["-1", "101", "nan", "x"])
def test_a_margin_of_collapses_is_a_number_of_points(margin: str) -> None:
    with pytest.raises(UserError, match="collapse"):
        make_spec({"collapse_margin": margin})
