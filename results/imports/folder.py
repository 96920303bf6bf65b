"""The folder of an import, beside which no run can be stored.

OUT/import.json          what was imported from where, and what was not
OUT/rows/KEY.json        one result of others
OUT/rows/KEY.parquet     its per-question answers
OUT/report/              the report
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.core.errors import UserError
from harness.core.files import check_writable, describe_os_error, escape_path, list_files, read_bytes, write_atomically
from harness.core.provenance import get_utc_time
from harness.core.record import Predictions
from harness.core.store import truncate_lines
from harness.core.stored_files import IMPORT_FILE, describe_damage, encode_parquet, read_document, to_json
from results.imports.base import SOURCES, Collected, ImportedRow, ImportInfo

if TYPE_CHECKING:
    import pandas as pd

IMPORTED = Path("results/imported")
"""Where imports go without --out."""
ROWS = "rows"


@dataclasses.dataclass(frozen=True)
class Import:
    """An import that was read back; `damaged` has one line per row that cannot be used."""

    out: Path
    info: ImportInfo
    rows: Sequence[ImportedRow]
    damaged: Sequence[str]

    def read_answers(self, row: ImportedRow) -> pd.DataFrame | None:
        """The per-question answers of a row; None where it has none."""
        if row.answers is None:
            return None
        import io

        import pandas as pd

        # read_import has compared its digest
        return pd.read_parquet(io.BytesIO(read_bytes(self.out / ROWS / f"{row.key}.parquet")))


def choose_folder(source: str, folder: Path) -> Path:
    """The output folder of an import without --out: the same for the same source and folder."""
    digest = hashlib.sha256(str(folder.resolve()).encode(errors="surrogateescape")).hexdigest()[:8]
    return IMPORTED / f"{source}-{digest}"


def import_folder(source: str, folder: Path, out: Path, command: str, baseline: str | None) -> Import:
    """Read the results of others below `folder` and store them in `out`, in place of an earlier import.

    Raises UserError for an unknown source, a folder that cannot be read or has nothing readable, and for an `out` that
    holds a run.
    """
    reader = SOURCES.get(source)()
    if not folder.is_dir():
        raise UserError(f"import {source} {escape_path(folder)}: no such folder; give the folder of the result files")
    if (out / "run.json").exists() or (out / "cells").exists():
        raise UserError(
            f"--out {escape_path(out)} holds a run; results of others never share its folder: give another one"
        )
    collected = reader.read(folder)
    if not collected.rows:
        reasons = "; ".join(truncate_lines(collected.skipped, 3)) or "it has no JSON files"
        raise UserError(
            f"import {source} {escape_path(folder)}: no result can be read ({reasons}); give a folder with "
            f"{reader.summary}"
        )
    rows = [row for row, _ in collected.rows]
    if baseline is not None and baseline not in {row.name for row in rows}:
        names = ", ".join(truncate_lines(list(dict.fromkeys(row.name for row in rows)), 8))
        raise UserError(f"--baseline {baseline!r}: no row has this name; rows are: {names}")
    stored = _write_rows(out, collected)
    info = ImportInfo(
        source=source,
        folder=str(folder),
        command=command,
        imported=get_utc_time(),
        baseline=baseline,
        order=[row.key for row in stored],
        files=collected.files,
        skipped=list(collected.skipped),
        repeats=collected.repeats,
    )
    # last, so that an interrupted import is no import
    write_atomically(out / IMPORT_FILE, to_json(info))
    return Import(out, info, stored, ())


def _write_rows(out: Path, collected: Collected) -> list[ImportedRow]:
    folder = out / ROWS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        check_writable(folder)
        (out / IMPORT_FILE).unlink(missing_ok=True)
        # rows of an earlier import into this folder
        for suffix in (".json", ".parquet"):
            for path in list_files(folder, suffix):
                path.unlink()
    except OSError as error:
        raise UserError(
            f"--out {escape_path(out)}: cannot write there: {describe_os_error(error)}; give a folder that can be "
            "written"
        ) from error
    stored = []
    for row, answers in collected.rows:
        if answers is not None:
            content = encode_parquet(answers)
            write_atomically(folder / f"{row.key}.parquet", content)
            side = Predictions(path=f"{row.key}.parquet", sha256=hashlib.sha256(content).hexdigest(), rows=len(answers))
            row = row.model_copy(update={"answers": side})
        write_atomically(folder / f"{row.key}.json", to_json(row))
        stored.append(row)
    return stored


def read_import(out: Path) -> Import:
    """What a folder's import has. Raises UserError for a folder without one, or without a readable row."""
    try:
        info = read_document(out / IMPORT_FILE, ImportInfo)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{escape_path(out)} holds no readable import ({IMPORT_FILE}: {describe_damage(error)}); import it again"
        ) from error
    rows, damaged = [], []
    for key in info.order:
        path = out / ROWS / f"{key}.json"
        try:
            row = read_document(path, ImportedRow)
            if row.key != key:
                raise ValueError("its key does not match its name")
            _check_answers(out, row)
            rows.append(row)
        except (OSError, ValueError, RecursionError) as error:
            damaged.append(f"{escape_path(path)}: {describe_damage(error)}; skipped")
    if not rows:
        reasons = "; ".join(truncate_lines(damaged, 3))
        raise UserError(f"{escape_path(out)}: no row of the import can be read ({reasons}); import it again")
    return Import(out, info, rows, damaged)


def _check_answers(out: Path, row: ImportedRow) -> None:
    """Raise ValueError or OSError if a row's answers are absent or changed."""
    if row.answers is None:
        return
    content = read_bytes(out / ROWS / f"{row.key}.parquet")
    if hashlib.sha256(content).hexdigest() != row.answers.sha256:
        raise ValueError("its answers are changed")
