"""Layouts of the files of tasks: folder, names of columns, spellings of labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from importlib.resources.abc import Traversable

from suites.sources.tables import DataTable


@dataclasses.dataclass(frozen=True)
class Columns:
    """Names of the text columns and of the label column in one kind of file."""

    texts: tuple[str, ...]
    label: str

    @property
    def names(self) -> tuple[str, ...]:
        """Text columns, then the label column."""
        return (*self.texts, self.label)


@dataclasses.dataclass(frozen=True)
class RecoveredSplits:
    """Splits made from other official files; a note says how if it is not the official way."""

    tables: Mapping[str, DataTable]
    notes: tuple[str, ...] = ()


Recover = Callable[[Traversable, Sequence[str]], RecoveredSplits]
"""recover(task folder, wanted splits) -> the splits that it can make of them"""


@dataclasses.dataclass(frozen=True)
class FileLayout:
    """The files of one task. `columns` lists the accepted headers, the official one first.

    `labels` maps a label as written to its class id; empty means a number from 0 to 5. `bare` names the columns of
    official files without a header. Rows whose label is `unlabelled` are dropped and counted in a note, as are rows
    of a wrong width where they are at most the share `broken` of the file: QQP has three in 363,849.
    """

    folder: str
    columns: tuple[Columns, ...]
    labels: Mapping[str, int]
    bare: tuple[str, ...] = ()
    unlabelled: str | None = None
    broken: float = 0.0
    recover: Recover | None = None
