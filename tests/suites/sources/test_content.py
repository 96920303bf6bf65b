"""Compressed files and encodings, against the standard library's and pandas' own writers."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import resource
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow
import pytest

from harness.core.errors import UserError
from harness.core.method import SourceRequest
from suites.glue import Glue
from suites.mmlu import Mmlu
from suites.sources.content import decode_text, read_content, split_lines
from suites.sources.tables import open_table
from suites.wmt16 import Wmt16
from suites.xnli import Xnli
from tests.suites.sources.files import write
from tests.suites.sources.mmlu_files import write_mmlu
from tests.suites.test_wmt16 import folder
from tests.suites.test_xnli import LANGUAGES, dev_rows


def zipped(data: bytes, *names: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names or ("rows.csv",):
            archive.writestr(name, data)
    return stream.getvalue()


PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: bytes(pyarrow.compress(data, "zstd", asbytes=True)),
    ".zip": zipped,
}
CSV = 'text,label\n"two\nlines, é",1\nb,0\n'.encode()


@pytest.mark.parametrize("suffix", PACK)
def test_compressed_tables_are_read_as_pandas_reads_them(tmp_path: Path, suffix: str) -> None:
    for name in (f"rows.csv{suffix}", "misnamed.csv"):
        (tmp_path / name).write_bytes(PACK[suffix](CSV))
        header, *rows = [cells for _, cells in open_table(tmp_path / name).rows]
        frame = pd.read_csv(io.BytesIO(CSV), dtype=str)
        assert header == list(frame) and rows == frame.to_numpy().tolist()


@pytest.mark.parametrize("suffix", PACK)
def test_a_small_compressed_file_takes_little_memory(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows.csv{suffix}"
    path.write_bytes(PACK[suffix](CSV))
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), before[1]))
    try:
        assert read_content(path).data == CSV
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zip"])
def test_official_folders_may_be_compressed(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / "QNLI" / "train.tsv", [("index", "question", "sentence", "label"), ("0", "q", "s", "entailment")])
    write(tmp_path / "QNLI" / "dev.tsv", [("index", "question", "sentence", "label"), ("0", "r", "s", "entailment")])
    folder(tmp_path / "wmt16")
    write_mmlu(tmp_path)
    for code in LANGUAGES:
        write(tmp_path / "xnli" / f"dev-{code}.tsv", dev_rows(code))
    request = SourceRequest("data-dir", tmp_path)
    suites = [(Glue(), "qnli"), (Wmt16(), "en-ro"), (Mmlu(), "mmlu"), (Xnli(), "en")]
    before = [suite.load(task, request).fingerprint for suite, task in suites]
    for path in [p for p in tmp_path.rglob("*") if p.is_file()]:
        data = path.read_bytes()
        packed = zipped(data, path.name) if suffix == ".zip" else PACK[suffix](data)
        path.with_name(path.name + suffix).write_bytes(packed)
        path.unlink()
    assert [suite.load(task, request).fingerprint for suite, task in suites] == before


def tar(data: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("rows.csv"), io.BytesIO(data))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.csv.gz", gzip.compress(CSV)[:-9], "damaged or cut short"),
        ("a.csv.bz2", bz2.compress(CSV)[:-9], "damaged or cut short"),
        ("a.csv.xz", lzma.compress(CSV)[:-9], "damaged or cut short"),
        ("a.zip", zipped(CSV)[:-30], "damaged or cut short"),
        ("a.zip", zipped(CSV, "a.csv", "b.csv"), "2 files (a.csv, b.csv)"),
        ("a.csv.gz", gzip.compress(tar(CSV)), "tar archive"),
        ("a.gz", gzip.compress(CSV), "extension"),
        ("a.zip", zipped(CSV, "a.doc"), "extension"),
        ("a.csv", "é".join(["text,label\n", ",1\n"]).encode("cp1252"), "line 2"),
        ("a.csv", "text,label\na,1\n".encode("utf-16-le"), "null byte"),
        ("a.csv", b"text,label\na\0b,1\n", "line 2"),
        ("a.csv", "text,label\na,1\n".encode("utf-16")[:-1], "UTF-16"),
        ("a.csv", b"text,label\n\xed\xa0\xbd,1\n", "line 2"),
    ],
    # archives hold the time at which they were made, so their bytes would be another test name in each worker
    ids=lambda value: "data" if isinstance(value, bytes) else value,
)
def test_what_cannot_be_read_is_refused_in_one_line(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError) as caught:
        list(open_table(tmp_path / name).rows)
    assert says in str(caught.value) and name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_names_the_encoding(tmp_path: Path, codec: str) -> None:
    (tmp_path / "a.csv").write_bytes(CSV.decode().encode(codec))
    assert decode_text("a", read_content(tmp_path / "a.csv").data) == CSV.decode()


def test_only_newlines_end_lines() -> None:
    odd = "\u2028 \u2029 \x85 \x0b \x0c \x1c \x1d \x1e a"
    assert split_lines(f"{odd}\r\n{odd}\n") == [odd, odd] == split_lines(f"{odd}\r{odd}\r")


def test_separators_within_cells_do_not_split_rows(tmp_path: Path) -> None:
    odd = "a\u2028b\x85c\x0bd\x0ce\x1cf"
    for name, content in {
        "a.csv": f"text,label\n{odd},1\n",
        "a.tsv": f"text\tlabel\n{odd}\t1\n",
        "a.jsonl": json.dumps({"text": odd, "label": "1"}, ensure_ascii=False) + "\n",
    }.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
        assert [list(cells) for _, cells in open_table(tmp_path / name).rows] == [["text", "label"], [odd, "1"]]
