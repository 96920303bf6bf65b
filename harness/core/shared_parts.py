"""Equal parts of records as one object, so that a store of thousands of records fits in memory."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from pydantic import BaseModel

from harness.core.record import AverageInfo, Record


class SharedParts:
    """Lets records share equal parts as one object, so that a store of thousands of records fits in memory."""

    RECORD = ("environment", "parameters", "train_state", "phases")
    CELL = ("protocol", "model", "initial")

    def __init__(self) -> None:
        self._parts: dict[Hashable, Any] = {}

    def share(self, record: Record) -> Record:
        """The same record, with each part replaced by an equal part of an earlier record."""
        # through __dict__, because the models are frozen; the values stay equal, so nobody can tell
        for owner, names in ((record, self.RECORD), (record.cell, self.CELL)):
            for name in names:
                owner.__dict__[name] = self._reuse_equal(owner.__dict__[name])
            for name, value in owner.__dict__.items():
                if isinstance(value, str):
                    owner.__dict__[name] = self._reuse_equal(value)
            fields = self._parts.setdefault(frozenset(owner.model_fields_set), owner.model_fields_set)
            object.__setattr__(owner, "__pydantic_fields_set__", fields)
        self._share_tasks(record.averages)
        record.__dict__["data_notes"] = self._parts.setdefault(("notes", *record.data_notes), record.data_notes)
        return record

    def share_values(self, field: str, values: list[Any]) -> list[Any]:
        """The values of one field of several records or cells, each replaced by an equal one of an earlier record."""
        if field == "averages":
            for averages in values:
                self._share_tasks(averages)
        if field == "data_notes":
            return [self._parts.setdefault(("notes", *notes), notes) for notes in values]
        is_shared = field in (*self.RECORD, *self.CELL)
        return [self._reuse_equal(value) if is_shared or isinstance(value, str) else value for value in values]

    def _share_tasks(self, averages: dict[str, AverageInfo]) -> None:
        for average in averages.values():
            average.__dict__["tasks"] = self._parts.setdefault(("tasks", *average.tasks), average.tasks)

    def _reuse_equal(self, value: Any) -> Any:
        """The first value seen that equals this one."""
        # as a tuple: pydantic's own hash and comparison take several times as long
        content = tuple(vars(value).values()) if isinstance(value, BaseModel) else value
        return self._parts.setdefault((type(value), content), value)
