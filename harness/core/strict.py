"""The models that stored files and their parts derive from."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Strict(BaseModel):
    """A frozen part of a stored file; an unknown field is an error."""

    # NaN is stored as NaN: as null, the record could not be read back
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")


class Stored(Strict):
    """A JSON file with its digest as the last member (see harness/core/files.py)."""

    sha256: str | None = Field(
        default=None,
        exclude=True,
        description="sha256 of everything before it in the file, white space excluded; null in older files",
    )
