"""Pack a finished run into a few small files for git, and unpack them.

usage: python -m scripts.pack_reference RUN OUT [--without-logits] [--predictions METHOD ...] [--without-figures]
       python -m scripts.pack_reference --unpack OUT RUN

OUT/cells.tar.xz has run.json, cells, profiles and tuning, with the same bytes for the same run; OUT/report has
report.md and SVG figures, OUT/scores.csv one row per score. Without logits (a quarter of the size) predictions are
rewritten: records have the new sha256, and packed.json in the archive has the original ones. With --predictions the
cells of other methods, and all tuning trials, keep their scores only; a run that predicts one class is then not found.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import lzma
import re
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

import pyarrow
import pyarrow.parquet

from harness.core.errors import UserError
from harness.core.files import replace_folder
from harness.core.spec_reading import make_spec
from harness.core.store import Store
from harness.core.stored_files import parse_record, read_record, to_json
from harness.runner.tuning.tuning import FILE, FOLDER
from results.report import rewrite_report as report

ARCHIVE, NOTE = "cells.tar.xz", "packed.json"
ORIGINAL, LEFT_OUT = "sha256 of the run's predictions", "predictions left out"
PARTS = ("cells", "profiles", f"{FOLDER}/cells", f"{FOLDER}/profiles")
NUMBER = re.compile(r"(-?\d+\.\d\d)\d+")
INDENTATION = re.compile(r"^ +", re.MULTILINE)
IMAGE = re.compile(r"^!\[[^\]]*\]\(figures/[^)]*\)\n+", re.MULTILINE)
FONTS = re.compile(r"font-family: 'DejaVu Sans',[^;]*;")
FILES = ("run.json", f"{FOLDER}/run.json", f"{FOLDER}/{FILE}")


def pack(
    run: Path, out: Path, logits: bool = True, methods: Collection[str] | None = None, figures: bool = True
) -> Path:
    """Write OUT; returns the archive. Raises UserError if RUN is no run, has damaged files or lacks one of `methods`.

    Only cells of `methods`, as the report writes them, keep their predictions; None: all cells.
    """
    Store(run).read_run()
    for folder in (run, run / FOLDER):
        _, lines = Store(folder).read() if (folder / "cells").is_dir() else ({}, [])
        if lines:
            raise UserError(f"{lines[0]}: run it again before it is packed")
    out.mkdir(parents=True, exist_ok=True)
    with tarfile.open(out / ARCHIVE, "w:xz", preset=9, format=tarfile.USTAR_FORMAT) as archive:
        for name, content in sorted(collect_contents(run, logits, methods).items()):
            # Without owner and time, so that the same run gives the same bytes.
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    # The report is made from the archive, which also tests that it can be unpacked.
    with tempfile.TemporaryDirectory() as scratch:
        unpack(out, Path(scratch) / "run")
        _write_report(Path(scratch) / "run", out, figures)
    return out / ARCHIVE


def collect_contents(run: Path, logits: bool, methods: Collection[str] | None = None) -> dict[str, bytes]:
    """Name in the archive -> content. Raises UserError if no cell is of one of `methods`."""
    paths = [run / name for name in FILES] + [p for part in PARTS for p in (run / part).glob("*.*")]
    files = {p.relative_to(run).as_posix(): p.read_bytes() for p in paths if p.is_file()}
    # a run that was packed before keeps what its note says
    earlier = {NOTE: (run / NOTE).read_bytes()} if (run / NOTE).is_file() else {}
    if logits and methods is None:
        return files | earlier
    before: dict[str, str] = {}
    dropped: dict[str, str] = {}
    labels: set[str] = set()
    for name in [n for n in files if n.endswith(".json") and PurePosixPath(n).parent.name == "cells"]:
        record = parse_record(run / name)
        labels.add(record.cell.label)
        if record.predictions is None:
            continue
        side = str(PurePosixPath(name).parent / record.predictions.path)
        if methods is not None and (record.cell.label not in methods or name.startswith(FOLDER)):
            dropped[side] = record.predictions.sha256
            del files[side]
            files[name] = to_json(record.model_copy(update={"predictions": None}))
        elif not logits:
            before[side] = record.predictions.sha256
            files[side] = drop_logits(files[side])
            predictions = record.predictions.model_copy(update={"sha256": hashlib.sha256(files[side]).hexdigest()})
            files[name] = to_json(record.model_copy(update={"predictions": predictions}))
    if unknown := sorted(set(methods or ()) - labels):
        raise UserError(
            f"--predictions {unknown[0]}: no cell of {run} has that method; it has: {'; '.join(sorted(labels))}"
        )
    note = json.loads(earlier[NOTE]) if earlier else {}
    note |= {} if logits else {"left out": "logits", ORIGINAL: before | note.get(ORIGINAL, {})}
    note |= {LEFT_OUT: dropped | note.get(LEFT_OUT, {})} if dropped else {}
    return files | {NOTE: json.dumps(note, indent=1).encode()}


def drop_logits(content: bytes) -> bytes:
    """A file of predictions without logits, in a layout that xz compresses well; other values are unchanged."""
    table = pyarrow.parquet.ParquetFile(io.BytesIO(content)).read()
    if "logits" in table.column_names:
        table = table.drop_columns(["logits"])
    stream = io.BytesIO()
    # Bytes of equal significance side by side, and no compression of Parquet's own: xz then finds more.
    split = [f.name for f in table.schema if pyarrow.types.is_floating(f.type)]
    pyarrow.parquet.write_table(
        table.replace_schema_metadata(None),
        stream,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
        store_schema=True,
        use_byte_stream_split=split,
    )
    return stream.getvalue()


def _write_report(run: Path, out: Path, figures: bool) -> None:
    """Write the report of a run as Markdown, with small SVG figures or without any."""
    report(run, make_spec({"formats": ("md", "csv"), "figures": ("svg",)}))
    report_folder = run / "report"
    shutil.rmtree(out / "report", ignore_errors=True)
    (out / "report").mkdir(parents=True)
    shutil.copyfile(report_folder / "scores.csv", out / "scores.csv")
    text = (report_folder / "report.md").read_text()
    (out / "report" / "report.md").write_text(text if figures else IMAGE.sub("", text))
    for path in sorted((report_folder / "figures").glob("*.svg")) if figures else ():
        (out / "report" / "figures").mkdir(exist_ok=True)
        (out / "report" / "figures" / path.name).write_text(shrink_svg(path.read_text()))


def shrink_svg(svg: str) -> str:
    """The figure with coordinates rounded to 0.01 points, without indentation, and with two fonts to choose from.

    No eye can see the difference; texts are unchanged.
    """
    rounded = re.sub(r'\b(?:d|x|y|width|height|transform)="[^"]*"', lambda match: NUMBER.sub(r"\1", match[0]), svg)
    return FONTS.sub("font-family: 'DejaVu Sans', sans-serif;", INDENTATION.sub("", rounded))


def unpack(out: Path, run: Path) -> None:
    """Restore RUN as it was packed. Raises UserError for a folder that is not empty or a damaged archive."""
    if run.is_dir() and any(run.iterdir()):
        raise UserError(f"{run} is not empty; give a new folder")
    try:
        # Decompress all of it first, because the checksum of xz is at the end.
        content = lzma.decompress((out / ARCHIVE).read_bytes())
        run.parent.mkdir(parents=True, exist_ok=True)
        with (
            replace_folder(run) as whole,
            tarfile.open(fileobj=io.BytesIO(content)) as archive,
        ):
            archive.extractall(whole, filter="data")
            for line in find_damaged(whole):
                raise UserError(f"{line}: the archive is not what was packed")
    except (OSError, tarfile.TarError, EOFError, lzma.LZMAError) as error:
        raise UserError(f"{out / ARCHIVE} cannot be read ({error}); give a folder that pack_reference wrote") from error


def find_damaged(run: Path) -> Iterator[str]:
    """A line for each record that is damaged, or whose predictions are missing or have another sha256."""
    for path in sorted(run.rglob("cells/*.json")):
        try:
            read_record(path)
        except (OSError, ValueError) as error:
            yield f"{path}: {error}"


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--unpack", action="store_true", help="unpack: OUT RUN")
    parser.add_argument("--without-logits", action="store_true", help="drop the logits of predictions")
    parser.add_argument("--without-figures", action="store_true", help="write the report without its figures")
    parser.add_argument(
        "--predictions",
        action="append",
        metavar="METHOD",
        help="keep predictions of this method's cells only (repeatable); none: of no method",
    )
    parser.add_argument("folders", nargs=2, type=Path, metavar="FOLDER", help="RUN OUT")
    arguments = parser.parse_args(words)
    try:
        source, target = arguments.folders
        if arguments.unpack:
            unpack(source, target)
        else:
            methods = None if arguments.predictions is None else set(arguments.predictions) - {"none"}
            archive = pack(source, target, not arguments.without_logits, methods, not arguments.without_figures)
            print(f"{archive}: {archive.stat().st_size / 1000:.0f} kB")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
