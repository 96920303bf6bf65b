"""The model that the parts of stored files derive from."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A frozen part of a stored file; an unknown field is an error."""

    # NaN is stored as NaN: as null, the record could not be read back
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")
