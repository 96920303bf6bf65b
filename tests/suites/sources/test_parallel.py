"""Sentence pairs from two files: what is read, and each error in one line with its file and line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.core.errors import UserError
from suites.sources.parallel import Direction, find_language, read_given_pairs, read_pairs

EN_RO = Direction.of("en-ro")


def write(folder: Path, **files: str | bytes) -> dict[str, Path]:
    made = {}
    for name, content in files.items():
        made[name] = folder / name.replace("_", ".")
        made[name].write_bytes(content if isinstance(content, bytes) else content.encode())
    return made


def test_pairs_are_lines_and_only_a_newline_ends_one(tmp_path: Path) -> None:
    files = write(tmp_path, a_en="one\u2028still one\r\ntwo\n", a_ro="unu\ndoi")
    rows, notes = read_pairs(files["a_en"], files["a_ro"], "train", start=5)
    assert notes == []
    assert [(r.id, r.texts, r.label) for r in rows] == [
        ("train/5", ("one\u2028still one",), "unu"),
        ("train/6", ("two",), "doi"),
    ]


@pytest.mark.parametrize(
    ("en", "ro", "says"),
    [
        ("a\nb\nc\n", "a\n", "a.ro line 2: expected a sentence, found the end of the file; .*a.en has 3 lines"),
        ("a\n", "a\nb\n", "a.en line 2: expected a sentence, found the end of the file; .*a.ro has 2 lines"),
        ("\n", "a\n", "each pair has an empty side"),
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
    assert [find_language(name) for name in names] == ["en", "ro", "en", "ro", "ro", "en"]
    assert find_language("pairs.txt") is None and find_language("rows.tsv") is None


def test_given_pairs_turn_to_the_direction_and_add_up(tmp_path: Path) -> None:
    files = write(tmp_path, a_en="one\n", a_ro="unu\n", b_ro="doi\n", b_en="two\n")
    paths = [files[name] for name in ("a_en", "a_ro", "b_ro", "b_en")]
    rows, _ = read_given_pairs("wmt16/train", paths, EN_RO, by_suite=True)
    assert [(r.texts[0], r.label) for r in rows] == [("one", "unu"), ("two", "doi")]
    back, _ = read_given_pairs("wmt16/train", paths, Direction.of("ro-en"), by_suite=True)
    assert [(r.texts[0], r.label) for r in back] == [("unu", "one"), ("doi", "two")]


def test_names_that_tell_nothing_need_the_task(tmp_path: Path) -> None:
    files = write(tmp_path, first_txt="unu\n", second_txt="one\n", a_en="x\n")
    paths = [files["first_txt"], files["second_txt"]]
    rows, _ = read_given_pairs("ro-en/train", paths, Direction.of("ro-en"), by_suite=False)
    assert (rows[0].texts[0], rows[0].label) == ("unu", "one")
    with pytest.raises(UserError, match=r"do not tell which language is which; .* en-ro/train=SOURCE,TARGET"):
        read_given_pairs("wmt16/train", paths, EN_RO, by_suite=True)
    with pytest.raises(UserError, match="do not tell"):
        read_given_pairs("en-ro/train", [files["a_en"], files["first_txt"]], EN_RO, by_suite=False)
    with pytest.raises(UserError, match=r"expected two files, one a language: wmt16/train=SOURCE,TARGET"):
        read_given_pairs("wmt16/train", [files["a_en"]], EN_RO, by_suite=True)


def test_pairs_with_an_empty_side_are_dropped_and_counted(tmp_path: Path) -> None:
    files = write(tmp_path, a_en="a\n\nc\nd\n", a_ro="x\ny\n \t\nz\n")
    rows, notes = read_pairs(files["a_en"], files["a_ro"], "train")
    assert [(r.id, r.texts[0], r.label) for r in rows] == [("train/0", "a", "x"), ("train/1", "d", "z")]
    assert notes == ["dropped: train: 2 pairs with an empty side"]


PAIRS = [("one", "unu"), ("two\u2028", 'd"oi'), ("", "trei")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", "en\tro\n" + "".join(f"{a}\t{b}\n" for a, b in PAIRS)),
        ("a.tsv", "RO\tEN\n" + "".join(f"{b}\t{a}\r\n" for a, b in PAIRS)),
        ("a.jsonl", "".join(json.dumps({"translation": {"en": a, "ro": b}}) + "\n" for a, b in PAIRS)),
        ("a.json", json.dumps([{"id": 1, "en": a, "ro": b} for a, b in PAIRS])),
    ],
)
def test_one_file_with_both_languages(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content, newline="")
    for task in ("en-ro", "ro-en"):
        rows, notes = read_given_pairs("wmt16/train", [path], Direction.of(task), by_suite=True)
        expected = PAIRS[:2] if task == "en-ro" else [(b, a) for a, b in PAIRS[:2]]
        assert [(r.texts[0], r.label) for r in rows] == expected
        assert notes == ["dropped: train: 1 pair with an empty side"]


def test_two_columns_without_a_header_need_the_task(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("one\tunu\ntwo\tdoi\n")
    rows, _ = read_given_pairs("en-ro/train", [path], EN_RO, by_suite=False)
    assert [(r.texts[0], r.label) for r in rows] == [("one", "unu"), ("two", "doi")]
    with pytest.raises(UserError, match="en-ro/train=FILE"):
        read_given_pairs("wmt16/train", [path], EN_RO, by_suite=True)
    path.write_text("one\tunu\ntwo\n")
    with pytest.raises(UserError, match=r"pairs\.tsv line 2: 1 columns, expected 2"):
        read_given_pairs("en-ro/train", [path], EN_RO, by_suite=False)
