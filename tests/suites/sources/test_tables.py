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
    return [list(cells) for _, cells in open_table(path).rows]


def test_csv_jsonl_and_parquet_read_the_same(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(ROWS, columns=HEADER)
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    lines = [json.dumps(dict(zip(HEADER, row, strict=True)), ensure_ascii=False) for row in ROWS]
    (tmp_path / "t.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    expected = [HEADER, *(list(row) for row in ROWS)]
    assert read(tmp_path / "t.jsonl") == read(tmp_path / "t.parquet") == expected
    assert read(tmp_path / "t.csv") == [[str(cell) for cell in row] for row in expected]


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
        ("t.jsonl", b"[1]\n", "row 1: expected a JSON object, found int"),
        ("t.jsonl", b"{}\n[1]\n", "line 2: expected a JSON object, found list"),
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


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_another_delimiter_of_a_csv_file_is_recognised_and_noted(tmp_path: Path, delimiter: str) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": ["a, b", 'say "x"', "c;d|e", "1,5"], "label": ["0", "1", "1", "0"]})
    frame.to_csv(tmp_path / "t.csv", index=False, sep=delimiter)
    table = open_table(tmp_path / "t.csv")
    assert [list(cells) for _, cells in table.rows] == [list(frame), *frame.to_numpy().tolist()]
    assert any("t.csv" in note for note in table.notes)


def test_a_comma_file_with_other_marks_in_its_texts_stays_one(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,label\na;b,1\nc;d,0\n")
    table = open_table(tmp_path / "t.csv")
    assert [list(cells) for _, cells in table.rows][1] == ["a;b", "1"] and table.notes == ()


def test_a_delimiter_that_does_not_suit_all_rows_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text;label\na;1\nb;c;0\n")
    assert read(tmp_path / "t.csv")[0] == ["text;label"]


@pytest.mark.parametrize("quoting", [0, 1, 2])  # minimal, all, all but numbers
def test_quotes_of_a_csv_writer_are_taken_off_tab_separated_cells(tmp_path: Path, quoting: int) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": ['He said "a"', "two\nlines", "plain", "a\tb"], "label": [0, 1, 1, 0]})
    frame.to_csv(tmp_path / "t.tsv", index=False, sep="\t", quoting=quoting)
    table = open_table(tmp_path / "t.tsv")
    assert [list(cells) for _, cells in table.rows][1:] == frame.astype(str).to_numpy().tolist()
    assert len(table.notes) == 1


def test_quotes_that_no_writer_puts_are_text(tmp_path: Path) -> None:
    rows = [["text", "label"], ['"Yes," he said.', "0"], ['"', "1"], ['a "b"', "1"], ['"whole"', "0"]]
    (tmp_path / "t.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    table = open_table(tmp_path / "t.tsv")
    assert [list(cells) for _, cells in table.rows] == rows and table.notes == ()


def test_json_arrays_and_lines_with_keys_that_not_each_row_has(tmp_path: Path) -> None:
    rows = [{"a": 1}, {"b": [1], "a": 2.5}, {"a": True, "c": None}]
    expected = [["a", "b", "c"], [1, None, None], [2.5, [1], None], [True, None, None]]
    for name in ("t.json", "t.jsonl", "t.ndjson"):
        for text in (json.dumps(rows), json.dumps(rows, indent=1), "\n".join(map(json.dumps, rows))):
            (tmp_path / name).write_text(text)
            assert read(tmp_path / name) == expected


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        '[{"a": 1, "a": 2}]',
        '{"a": ' + "1" * 5000 + "}",
        '{\n"a": 1\n}',
        '{"a": 1}\n{"a": 2',
        "null",
    ],
    ids=range(7),
)
def test_json_that_cannot_be_a_table_is_a_user_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(UserError, match=r"t\.json") as caught:
        read(tmp_path / "t.json")
    assert "\n" not in str(caught.value)


def test_parquet_with_text_that_is_no_utf8_is_refused_where_it_is_used(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    bad = pyarrow.array([b"ok", b"\xff\xfe"]).view(pyarrow.string())
    parquet.write_table(pyarrow.table({"text": ["a", "b"], "bad": bad}), tmp_path / "t.parquet")
    table = open_table(tmp_path / "t.parquet")
    _, (number, cells), _ = table.rows
    assert table.text(number, "text", cells[0]) == "a"
    with pytest.raises(UserError, match=r"t\.parquet row 1: 'bad'"):
        table.text(number, "bad", cells[1])


@pytest.mark.parametrize("cell", [["a"], {"a": 1}, b"a", "\ud83d", "a\0b"])
def test_what_is_no_text_is_refused_by_the_name_of_its_column(tmp_path: Path, cell: object) -> None:
    (tmp_path / "t.csv").write_text("a\n")
    with pytest.raises(UserError, match=r"t\.csv line 3: 'words'"):
        open_table(tmp_path / "t.csv").text(3, "words", cell)


def test_a_cell_of_200_000_characters(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"text,label\n{'word ' * 40_000},1\n")
    assert len(read(tmp_path / "t.csv")[1][0]) == 200_000


def test_parquet_with_a_column_whose_name_is_no_utf8_is_refused(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "t.parquet"
    parquet.write_table(pyarrow.table({"zzzz": ["a"], "label": [1]}), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"zzzz", b"\xff\xfe\xff\xfe"))
    with pytest.raises(UserError, match=r"t\.parquet: expected a Parquet file: .*utf-8"):
        list(open_table(path).rows)
