"""One content in each file form reads the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.errors import UserError
from suites.sources.tables import open_table

ROWS = [('he said "a, b"', "tab\there", 1), ("ünïcode\u2028", "", 0)]
HEADER = ["sentence1", "sentence2", "label"]


def read(path: Path) -> list[list[str]]:
    return [cells for _, cells in open_table(path).rows]


def test_csv_jsonl_and_parquet_read_the_same(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(ROWS, columns=HEADER)
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    lines = [json.dumps(dict(zip(HEADER, row, strict=True)), ensure_ascii=False) for row in ROWS]
    (tmp_path / "t.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    expected = [HEADER, *([one, two, str(label)] for one, two, label in ROWS)]
    assert read(tmp_path / "t.csv") == read(tmp_path / "t.jsonl") == read(tmp_path / "t.parquet") == expected


def test_numbers_are_lines_of_text_and_rows_of_parquet(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pandas.DataFrame({"label": [1, 0]}).to_parquet(tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text('text,label\n"two\nlines",1\nx,0\n')
    parquet, table = open_table(tmp_path / "t.parquet"), open_table(tmp_path / "t.csv")
    assert (parquet.unit, [number for number, _ in parquet.rows]) == ("row", [0, 1, 2])
    assert (table.unit, [number for number, _ in table.rows]) == ("line", [1, 3, 4])


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("t.tsv", b"a\tb\n\xff\t1\n", "line 2: expected UTF-8 text, found byte 0xff"),
        ("t.jsonl", b'{"a": 1}\nnonsense\n', "line 2: expected a JSON object"),
        ("t.jsonl", b"[1]\n", "line 1: expected a JSON object, found list"),
        ("t.csv", b'a,b\n"open,1\n', "line 2: expected CSV"),
        ("t.parquet", b"PAR1 not", "expected a Parquet file"),
    ],
)
def test_files_that_are_not_what_their_name_says(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        read(tmp_path / name)
    assert expected in str(caught.value) and str(tmp_path / name) in str(caught.value)


def test_unknown_extension_and_absent_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown extension .*did you mean '\.tsv'"):
        open_table(tmp_path / "t.tsw")
    with pytest.raises(UserError, match=r"t\.tsv' cannot be read: No such file"):
        open_table(tmp_path / "t.tsv")
