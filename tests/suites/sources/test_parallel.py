"""Sentence pairs from two files: what is read, and each error in one line with its file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UserError
from suites.sources.parallel import Direction, given_pairs, language_of, read_pairs

EN_RO = Direction.of("en-ro")


def write(folder: Path, **files: str | bytes) -> dict[str, Path]:
    made = {}
    for name, content in files.items():
        made[name] = folder / name.replace("_", ".")
        made[name].write_bytes(content if isinstance(content, bytes) else content.encode())
    return made


def test_pairs_are_lines_and_only_a_newline_ends_one(tmp_path: Path) -> None:
    files = write(tmp_path, a_en="one\u2028still one\r\ntwo\n", a_ro="unu\ndoi")
    rows = read_pairs(files["a_en"], files["a_ro"], "train", start=5)
    assert [(r.id, r.texts, r.label) for r in rows] == [
        ("train/5", ("one\u2028still one",), "unu"),
        ("train/6", ("two",), "doi"),
    ]


@pytest.mark.parametrize(
    ("en", "ro", "says"),
    [
        ("a\nb\nc\n", "a\n", "a.ro line 2: expected a sentence, found the end of the file; .*a.en has 3 lines"),
        ("a\n", "a\nb\n", "a.en line 2: expected a sentence, found the end of the file; .*a.ro has 2 lines"),
        ("a\n\nc\n", "a\nb\nc\n", "a.en line 2: expected a sentence, found an empty line"),
        ("a\nb\n", "a\n \t\n", "a.ro line 2: expected a sentence, found an empty line"),
        ("", "", "a.en line 1: expected a sentence, found an empty file"),
        ("a\nb\n", b"a\nb\xe3\n", "a.ro line 2: expected UTF-8 text, found byte 0xe3"),
    ],
)
def test_errors_name_file_line_and_expectation(tmp_path: Path, en: str, ro: str | bytes, says: str) -> None:
    files = write(tmp_path, a_en=en, a_ro=ro)
    with pytest.raises(UserError, match=says) as caught:
        read_pairs(files["a_en"], files["a_ro"], "train")
    assert "\n" not in str(caught.value)


def test_names_tell_the_language() -> None:
    names = ("x.en", "RO-STS.train.ro", "RO-STS.train.en", "train.en-ro.ro", "newstest2019-ref.ron.txt", "eng.devtest")
    assert [language_of(name) for name in names] == ["en", "ro", "en", "ro", "ro", "en"]
    assert language_of("pairs.txt") is None and language_of("rows.tsv") is None


def test_given_pairs_turn_to_the_direction_and_add_up(tmp_path: Path) -> None:
    files = write(tmp_path, a_en="one\n", a_ro="unu\n", b_ro="doi\n", b_en="two\n")
    paths = [files[name] for name in ("a_en", "a_ro", "b_ro", "b_en")]
    rows = given_pairs("wmt16/train", paths, EN_RO, by_suite=True)
    assert [(r.texts[0], r.label) for r in rows] == [("one", "unu"), ("two", "doi")]
    back = given_pairs("wmt16/train", paths, Direction.of("ro-en"), by_suite=True)
    assert [(r.texts[0], r.label) for r in back] == [("unu", "one"), ("doi", "two")]


def test_names_that_tell_nothing_need_the_task(tmp_path: Path) -> None:
    files = write(tmp_path, first_txt="unu\n", second_txt="one\n", a_en="x\n")
    paths = [files["first_txt"], files["second_txt"]]
    rows = given_pairs("ro-en/train", paths, Direction.of("ro-en"), by_suite=False)
    assert (rows[0].texts[0], rows[0].label) == ("unu", "one")
    with pytest.raises(UserError, match=r"do not tell which language is which; .* en-ro/train=SOURCE,TARGET"):
        given_pairs("wmt16/train", paths, EN_RO, by_suite=True)
    with pytest.raises(UserError, match="do not tell"):
        given_pairs("en-ro/train", [files["a_en"], files["first_txt"]], EN_RO, by_suite=False)
    with pytest.raises(UserError, match=r"expected two files, one a language: wmt16/train=SOURCE,TARGET"):
        given_pairs("wmt16/train", [files["a_en"]], EN_RO, by_suite=True)
