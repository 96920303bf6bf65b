"""The frame of a run's scores, which shows itself as a summary."""

from __future__ import annotations

from typing import Any

import pandas as pd

from results.summary import format_summary, format_summary_html


class RunFrame(pd.DataFrame):  # type: ignore[misc]
    """A DataFrame as any other, except for how a notebook or a prompt shows it: folder, counts and the ranking.

    What is derived from it (a selection, a copy, a pivot) is a plain DataFrame and shows its rows.
    """

    @classmethod
    def of(cls, frame: pd.DataFrame, lines: list[str], rows: list[list[str]]) -> RunFrame:
        made = cls(frame)
        shape = f"frame: {len(frame):,} rows and {frame.shape[1]} columns (results.COLUMNS)"
        made.attrs["summary"] = ([*lines, shape], rows)
        return made

    @property
    def _constructor(self) -> Any:
        return _build_plain_frame

    def __repr__(self) -> str:
        return format_summary(*self.attrs["summary"]) if "summary" in self.attrs else str(pd.DataFrame(self))

    def _repr_html_(self) -> str:
        if "summary" not in self.attrs:
            return str(pd.DataFrame(self)._repr_html_())
        return format_summary_html(*self.attrs["summary"])


def _build_plain_frame(*arguments: Any, **named: Any) -> pd.DataFrame:
    return pd.DataFrame(*arguments, **named)
