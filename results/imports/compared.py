"""The latest run of each row against the baseline's: scores that are shares of the same number of questions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from reports.statistics.holm import apply_holm
from reports.statistics.proportions import ShareDifference, compare_shares
from results.imports.base import ImportedRow
from results.imports.reruns import Reruns, find_partner
from results.imports.settings import describe_software, flatten_settings

ROUNDING = 1e-6
"""A score times the number of questions is a whole number up to this."""


@dataclasses.dataclass(frozen=True)
class Compared:
    """The latest run of a row, the baseline's run of the same set-up, and their test; `why` there is none."""

    row: ImportedRow
    partner: ImportedRow | None
    difference: ShareDifference | None
    why: str = ""
    adjusted_p: float | None = None

    @property
    def points(self) -> float | None:
        """Difference to the baseline in points, or in units of a score that is no share."""
        if self.partner is None or self.row.score is None or self.partner.score is None:
            return None
        return get_scale(self.row) * (self.row.score - self.partner.score)


def get_scale(row: ImportedRow) -> float:
    """100 for shares of questions, which are shown in points; 1 for other scores."""
    return 100.0 if row.questions else 1.0


def count_right(row: ImportedRow) -> int | None:
    """The number of right answers; None where the score is no share of the questions."""
    if row.score is None or not row.questions:
        return None
    right = round(row.score * row.questions)
    return right if abs(row.score * row.questions - right) < ROUNDING else None


def compare_rows(groups: Sequence[Reruns], baseline: str) -> list[Compared]:
    """The latest run of each row against the baseline's run of the same set-up, the highest score first.

    Adjusted by Holm over all rows that are tested: the rows above the baseline were not chosen before.
    """
    runs = next((group.runs for group in groups if group.name == baseline), ())
    compared = [_compare_row(group.latest, runs, baseline) for group in groups]
    adjusted = apply_holm([one.difference.p if one.difference else None for one in compared])
    compared = [dataclasses.replace(one, adjusted_p=p) for one, p in zip(compared, adjusted, strict=True)]
    return sorted(compared, key=lambda one: -(one.row.score or 0.0))


def _compare_row(row: ImportedRow, runs: Sequence[ImportedRow], baseline: str) -> Compared:
    if row.name == baseline:
        return Compared(row, None, None, "the baseline")
    partner = find_partner(row, runs)
    if partner is None:
        setup = f"{row.model}, {describe_software(row)}, {row.hardware}"
        return Compared(row, None, None, f"no run of {baseline} with {setup}")
    if not row.questions:
        return Compared(row, partner, None, "no test: the score is no share of questions")
    right, other = count_right(row), count_right(partner)
    if right is None or other is None or row.questions != partner.questions:
        return Compared(row, partner, None, f"no test: the score is no share of {row.questions:,} questions")
    return Compared(row, partner, compare_shares(right, other, row.questions))


def get_rate(row: ImportedRow) -> Any:
    """The learning rate; None where the file has none."""
    return flatten_settings(row.settings).get("train_config.optimizer_kwargs.lr")
