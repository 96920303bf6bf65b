"""What a page of the board is made of: tables of texts and links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Column:
    """A column of a table. `kind`: 'number', 'text', or 'filter' for one with a menu of its values."""

    name: str
    kind: str = "text"


@dataclass(frozen=True)
class Link:
    """The text of a table cell that leads to a page; `note` follows it. `order`: what its column sorts by."""

    text: str
    href: str = ""
    note: str = ""
    order: str = ""
    mark: str = ""


Value = str | int | Link | Sequence[Link]


@dataclass(frozen=True)
class BoardTable:
    """A table of a page; `rows` have one value per column. `names` give a row's two runs, for the menu of pairs."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Value]]
    notes: Sequence[str] = ()
    pairs: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Page:
    """A page. `root` leads from its folder to that of the board."""

    title: str
    lines: Sequence[str] = ()
    tables: Sequence[BoardTable] = field(default_factory=tuple)
    root: str = ""
    has_chooser: bool = False


def list_links(value: Value) -> Sequence[Link]:
    """A value of a table as links; a plain one leads nowhere."""
    if isinstance(value, Link):
        return (value,)
    return (Link(str(value)),) if isinstance(value, (str, int)) else value
