"""The JSON and parquet files of a run: reading with all checks, and their content to write."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from harness.core.errors import UserError, quote, shorten
from harness.core.files import append_digest, describe_os_error, escape_path, list_files, read_bytes, verify_digest
from harness.core.profile import Profile
from harness.core.record import SCHEMA_VERSION, Record
from harness.core.strict import Stored

if TYPE_CHECKING:
    import pandas as pd

Document = TypeVar("Document", bound=Stored)
RECORD_DEPTH = 2
"""Nesting of a record's digest: it is in the last field, `extra`."""
IMPORT_FILE = "import.json"
"""In a folder of results that others measured (results/imports), which is no run."""


def check_no_import(out: Path) -> None:
    """Raise UserError for a folder of imported results."""
    if (out / IMPORT_FILE).is_file():
        raise UserError(
            f"{escape_path(out)} holds imported results of others, not a run; `report`, `show` and `compare` read it: "
            "give them this folder, or give the folder of a run"
        )


class UnmatchedPredictions(ValueError):
    """The predictions of a record are absent or different: damage, or a run is between writing the two files."""


def read_record(path: Path) -> Record:
    """A record, checked against its file name, its cell and its predictions. Raises OSError and ValueError."""
    record = parse_record(path)
    # a copied or edited record would otherwise stand for a cell that it does not belong to
    if record.key != path.stem or record.cell.key != record.key:
        raise ValueError("its key does not match its content")
    if side := find_changed_predictions(path.parent, record):
        raise UnmatchedPredictions(f"its predictions {escape_path(Path(side.name))} are absent or changed")
    return record


def parse_record(path: Path) -> Record:
    """A record, without a check of its predictions. Raises OSError and ValueError."""
    try:
        content = read_bytes(path)
        record = Record.model_validate_json(content)
        verify_digest(content, RECORD_DEPTH)
        return record
    except ValidationError as error:
        # another version explains the error better than the first field that does not fit
        version = _read_schema_version(path)
        if version != SCHEMA_VERSION:
            raise ValueError(f"schema version {version}, this harness reads {SCHEMA_VERSION}") from error
        raise


def _read_schema_version(path: Path) -> object:
    """The schema version of an invalid record; the current one if the file holds none."""
    try:
        content = json.loads(read_bytes(path))
    except (ValueError, RecursionError):
        return SCHEMA_VERSION
    return content.get("schema_version", SCHEMA_VERSION) if isinstance(content, dict) else SCHEMA_VERSION


def read_document(path: Path, kind: type[Document]) -> Document:
    """The content of a JSON file; its digest, if it has one, is verified. Raises OSError and ValueError."""
    content = read_bytes(path)
    document = kind.model_validate_json(content)
    if not verify_digest(content) and document.sha256 is not None:
        raise ValueError("its sha256 is not the last of its members")
    return document.model_copy(update={"sha256": None})


def read_documents(folder: Path, kind: type[Profile]) -> tuple[dict[str, Profile], dict[Path, str]]:
    """Key -> document for the files of a folder, and path -> reason for damaged files."""
    documents: dict[str, Profile] = {}
    damaged: dict[Path, str] = {}
    for path in list_files(folder, ".json"):
        try:
            document = read_document(path, kind)
            if document.key != path.stem:
                raise ValueError("its key does not match its name")
            documents[document.key] = document
        except (OSError, ValueError) as error:
            damaged[path] = describe_damage(error)
    return documents, damaged


def find_changed_predictions(cells: Path, record: Record) -> Path | None:
    """The path of a record's predictions if they are absent or do not match the record's hash; otherwise None."""
    if record.predictions is None:
        return None
    side = cells / record.predictions.path
    # no other name is accepted, so that a record cannot make us read a file outside the folder
    if record.predictions.path == f"{record.key}.parquet":
        with contextlib.suppress(OSError):
            if hashlib.sha256(read_bytes(side)).hexdigest() == record.predictions.sha256:
                return None
    return side


def describe_damage(error: Exception) -> str:
    """One line about a damaged file; for an invalid record, its first invalid field and the value found there."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        # for a missing field pydantic gives the whole surrounding object as its input
        given = "" if first["type"] in ("missing", "json_invalid") else f"; found: {quote(first['input'])}"
        return f"{shorten(place)}: {first['msg']}{given}" if place else str(first["msg"])
    if isinstance(error, OSError):
        return describe_os_error(error)
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def to_json(document: BaseModel) -> bytes:
    """The content of a JSON file, with its digest."""
    # json.dumps, not pydantic's writer: a script that only reformats the file with the json module keeps the digest
    depth = RECORD_DEPTH if isinstance(document, Record) else 1
    return append_digest(json.dumps(document.model_dump(mode="json"), indent=1).encode(), depth)


def encode_parquet(frame: pd.DataFrame) -> bytes:
    """The content of a parquet file with the predictions."""
    import io

    stream = io.BytesIO()
    frame.to_parquet(stream, index=False)
    return stream.getvalue()
