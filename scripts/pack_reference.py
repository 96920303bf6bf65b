"""A finished run as a few small files for git, and back.

usage: python -m scripts.pack_reference RUN OUT [--without-logits]
       python -m scripts.pack_reference --unpack OUT RUN

OUT/cells.tar.xz holds run.json, cells, profiles and tuning, the same bytes each time; OUT/report has report.md and SVG
figures, OUT/scores.csv one row a score. Without logits, about a quarter of the size, the kept predictions are written
anew: their records name the new sha256, and packed.json in the archive the one of the run.
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
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pyarrow
import pyarrow.parquet

from harness.core.errors import UserError
from harness.core.files import replace_folder
from harness.core.spec import make_spec
from harness.core.store import Store
from harness.core.stored_files import parse_record, read_record, to_json
from harness.runner.tuning.tuning import FILE, FOLDER
from results.report import rewrite_report as report

ARCHIVE, NOTE = "cells.tar.xz", "packed.json"
PARTS = ("cells", "profiles", f"{FOLDER}/cells", f"{FOLDER}/profiles")
NUMBER = re.compile(r"(-?\d+\.\d\d)\d+")
FILES = ("run.json", f"{FOLDER}/run.json", f"{FOLDER}/{FILE}")


def pack(run: Path, out: Path, logits: bool = True) -> Path:
    """Write OUT; returns the archive. Raises UserError where RUN is no run or has files that do not read."""
    Store(run).read_run()
    for folder in (run, run / FOLDER):
        _, lines = Store(folder).read() if (folder / "cells").is_dir() else ({}, [])
        if lines:
            raise UserError(f"{lines[0]}: run it again before it is packed")
    out.mkdir(parents=True, exist_ok=True)
    with tarfile.open(out / ARCHIVE, "w:xz", preset=9, format=tarfile.USTAR_FORMAT) as archive:
        for name, content in sorted(collect_contents(run, logits).items()):
            member = tarfile.TarInfo(name)  # no owner, no time: the same bytes each time
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    with tempfile.TemporaryDirectory() as scratch:  # what is shown is what was packed
        unpack(out, Path(scratch) / "run")
        _write_report(Path(scratch) / "run", out)
    return out / ARCHIVE


def collect_contents(run: Path, logits: bool) -> dict[str, bytes]:
    """Name in the archive -> content."""
    paths = [run / name for name in FILES] + [p for part in PARTS for p in (run / part).glob("*.*")]
    files = {p.relative_to(run).as_posix(): p.read_bytes() for p in paths if p.is_file()}
    if logits:
        return files
    before: dict[str, str] = {}
    for name in [n for n in files if n.endswith(".json") and PurePosixPath(n).parent.name == "cells"]:
        record = parse_record(run / name)
        if record.predictions is not None:
            side = str(PurePosixPath(name).parent / record.predictions.path)
            before[side] = record.predictions.sha256
            files[side] = drop_logits(files[side])
            predictions = record.predictions.model_copy(update={"sha256": hashlib.sha256(files[side]).hexdigest()})
            files[name] = to_json(record.model_copy(update={"predictions": predictions}))
    note = {"left out": "logits", "sha256 of the run's predictions": before}
    return files | {NOTE: json.dumps(note, indent=1).encode()}


def drop_logits(content: bytes) -> bytes:
    """A file of predictions without its logits, laid out for xz; each value as it was."""
    table = pyarrow.parquet.ParquetFile(io.BytesIO(content)).read()
    if "logits" in table.column_names:
        table = table.drop_columns(["logits"])
    stream = io.BytesIO()
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


def _write_report(run: Path, out: Path) -> None:
    """The report of a run as Markdown with SVG figures, their numbers rounded to what an eye can see."""
    report(run, make_spec({"formats": ("md", "csv"), "figures": ("svg",)}))
    report_folder = run / "report"
    shutil.rmtree(out / "report", ignore_errors=True)
    (out / "report" / "figures").mkdir(parents=True)
    shutil.copyfile(report_folder / "report.md", out / "report" / "report.md")
    shutil.copyfile(report_folder / "scores.csv", out / "scores.csv")
    for path in sorted((report_folder / "figures").glob("*.svg")):
        (out / "report" / "figures" / path.name).write_text(round_coordinates(path.read_text()))


def round_coordinates(svg: str) -> str:
    """Coordinates to a hundredth of a point; what figures say stays."""
    return re.sub(r'\b(?:d|x|y|width|height|transform)="[^"]*"', lambda match: NUMBER.sub(r"\1", match[0]), svg)


def unpack(out: Path, run: Path) -> None:
    """RUN as it was packed. Raises UserError for a folder that is not empty or an archive that does not read."""
    if run.is_dir() and any(run.iterdir()):
        raise UserError(f"{run} is not empty; give a new folder")
    try:
        content = lzma.decompress((out / ARCHIVE).read_bytes())  # all of it: the checksum of xz stands at its end
        run.parent.mkdir(parents=True, exist_ok=True)
        with (
            replace_folder(run) as whole,
            tarfile.open(fileobj=io.BytesIO(content)) as archive,
        ):
            archive.extractall(whole, filter="data")
            for line in find_damaged(whole):
                raise UserError(f"{line}: the archive is not what was packed")
    except (OSError, tarfile.TarError, EOFError, lzma.LZMAError) as error:
        raise UserError(f"{out / ARCHIVE} does not read ({error}); give a folder that pack_reference wrote") from error


def find_damaged(run: Path) -> Iterator[str]:
    """A line for each record that does not read or whose predictions are absent or have another sha256."""
    for path in sorted(run.rglob("cells/*.json")):
        try:
            read_record(path)
        except (OSError, ValueError) as error:
            yield f"{path}: {error}"


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--unpack", action="store_true", help="the other way: OUT RUN")
    parser.add_argument("--without-logits", action="store_true", help="keep predictions, not what they came from")
    parser.add_argument("folders", nargs=2, type=Path, metavar="FOLDER", help="RUN OUT")
    arguments = parser.parse_args(words)
    try:
        source, target = arguments.folders
        if arguments.unpack:
            unpack(source, target)
        else:
            archive = pack(source, target, not arguments.without_logits)
            print(f"{archive}: {archive.stat().st_size / 1000:.0f} kB")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
