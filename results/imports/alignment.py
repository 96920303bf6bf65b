"""The answers of two models on the questions that both were asked."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from harness.core.text import count_noun
from reports.statistics.paired_scores import PairedScores, compare_paired
from results.imports.base import AnsweredRows, ImportedRow
from results.imports.evaluations import Evaluation
from results.imports.samples import TOLERANCE, get_column

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class PairedTask:
    """The paired scores of a task or group; how many questions only one side has, and how many prompts differ."""

    scores: PairedScores
    alone: int
    other_prompts: int
    test: str


def compare_rows(
    first: Evaluation,
    row: ImportedRow,
    answers: AnsweredRows,
    second: Evaluation,
    partner: ImportedRow,
    partner_answers: AnsweredRows,
) -> tuple[PairedTask | None, str]:
    """`row` less `partner`: of a task its questions, of a group those of its tasks. None with the reason."""
    import numpy as np
    import pandas as pd

    if row.headline != partner.headline:
        return None, f"no test: one reports {row.headline}, the other {partner.headline}"
    is_group = bool(row.facts.get("subtasks"))
    lists = [first.list_leaves(row), second.list_leaves(partner)] if is_group else [[row], [partner]]
    tasks = [[leaf.benchmark for leaf in leaves] for leaves in lists]
    if tasks[0] != tasks[1] or not tasks[0]:
        return None, "no test: the group has other tasks, or not all of them have a row"
    sides = []
    for whole, leaves, read in ((row, lists[0], answers), (partner, lists[1], partner_answers)):
        frames = []
        for leaf in leaves:
            frame = read.read_answers(leaf)
            if frame is None or get_column(whole) not in frame:
                return None, f"no test: no answers of {leaf.benchmark} are stored"
            part = frame[["id", "question", "prompt", get_column(whole)]]
            frames.append(part.set_axis(["id", "question", "prompt", "score"], axis=1).assign(task=leaf.benchmark))
        table = pd.concat(frames)
        if is_group and abs(float(table["score"].mean()) - (whole.score or 0.0)) > TOLERANCE:
            return None, "no test: the group's score is no mean over its questions"
        sides.append(table)
    common = _join_questions(*sides)
    if common.empty:
        return None, "no test: no question in common"
    codes = np.unique(common["task"], return_inverse=True)[1] if is_group else None
    scores = compare_paired(common["score_x"].to_numpy(), common["score_y"].to_numpy(), codes)
    alone = len(sides[0]) + len(sides[1]) - 2 * len(common)
    return PairedTask(scores, alone, int((common["prompt_x"] != common["prompt_y"]).sum()), _name_test(common)), ""


def _join_questions(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """One line per question that both tables have: the same id and text, in the same task."""
    return first.merge(second, on=["task", "id", "question"], validate="one_to_one")


def _name_test(common: pd.DataFrame) -> str:
    is_binary = all(set(common[name].unique()) <= {0.0, 1.0} for name in ("score_x", "score_y"))
    name = "McNemar" if is_binary else "sign test"
    return "t of tasks" if common["task"].nunique() > 1 else name


def count_common(paired: PairedTask) -> str:
    """What the pairing left out, and how many prompts differ; '' for nothing."""
    parts = [f"{count_noun(paired.alone, 'question')} of one side only" if paired.alone else ""]
    parts.append(f"the prompt of {count_noun(paired.other_prompts, 'question')}" if paired.other_prompts else "")
    return ", ".join(filter(None, parts))
