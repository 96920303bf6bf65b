"""Declared comparisons become the primary ones; everything else keeps its own family."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import false_discovery_control
from statsmodels.stats.multitest import multipletests

from harness.core.errors import UserError
from harness.core.record import Record
from reports.frames import build_grids
from reports.statistics.analysis import Analysis, analyse
from reports.statistics.families import Question, control_false_discoveries, resolve_primary
from tests.reports.records import cell, record

TASKS = ("cola", "rte")
OPTIONS: dict[str, dict[str, object]] = {"lora": {}, "lora:rank=8": {"rank": 8}, "lorasp": {}, "full": {}}


def runs(methods: dict[str, dict[str, object]] = OPTIONS, **fields: object) -> list[Record]:
    rng = np.random.default_rng(0)
    return [
        record(70 + rng.normal(), cell(task, name.partition(":")[0], seed, options=options, **fields))
        for task in TASKS
        for name, options in methods.items()
        for seed in range(4)
    ]


def roles(analysis: Analysis) -> dict[tuple[str, str, str], str]:
    return {(j.comparison.place, j.comparison.method, j.comparison.first): j.tests.role for j in analysis.judged}


def test_the_false_discovery_rate_is_controlled_as_by_scipy_and_statsmodels() -> None:
    ps = np.random.default_rng(0).uniform(0, 0.2, 15).tolist()
    found = control_false_discoveries([None, *ps, None])
    assert found[0] is found[-1] is None and found[1:-1] == pytest.approx(false_discovery_control(ps))
    assert found[1:-1] == pytest.approx(multipletests(ps, method="fdr_bh")[1]) and control_false_discoveries([]) == []


def test_by_default_every_method_is_compared_with_the_first() -> None:
    found = roles(analyse(runs(), []))
    primary = {(method, first) for (_, method, first), role in found.items() if role == "primary"}
    assert primary == {("lora:rank=8", "lora"), ("lorasp", "lora"), ("full", "lora")}
    assert found["rte", "full", "lora"] == "secondary"
    assert found["average of 2 tasks", "lorasp", "full"] == "exploratory"


def test_declared_pairs_are_the_only_primary_ones() -> None:
    analysis = analyse(runs(), [], question=Question("lorasp vs lora:rank=8, full vs lorasp"))
    found = roles(analysis)
    primary = {place for place, role in found.items() if role == "primary"}
    assert primary == {
        ("average of 2 tasks", "lorasp", "lora:rank=8"),
        ("average of 2 tasks", "full", "lorasp"),
    }
    assert found["cola", "full", "lorasp"] == "secondary"
    # the opponent of the first pair is what every method is compared with
    assert analysis.rankings[0].baseline == "lora:rank=8"
    assert found["average of 2 tasks", "lora", "lora:rank=8"] == "exploratory"
    assert all(row.verdict for row in analysis.rankings[0].rows if row.method != "lora:rank=8")
    (family,) = {j.tests.family for j in analysis.judged if j.tests.role == "primary"}
    assert family == 2


def test_a_row_that_was_compared_the_other_way_round_is_turned() -> None:
    records = runs({"lora": {}, "full": {}})
    analysis = analyse(records, [])
    turned = analyse(records, [], question=Question("lora vs full")).rankings[0]
    plain = {row.method: row for row in analysis.rankings[0].rows}
    rows = {row.method: row for row in turned.rows}
    assert turned.baseline == "full" and rows["full"].difference is None
    a, b = rows["lora"].difference, plain["full"].difference
    assert a is not None and b is not None and (a.value, a.se) == (-b.value, b.se)


def test_tasks_of_a_suite_without_an_average_are_primary() -> None:
    records = [r.model_copy(update={"averages": {}}) for r in runs({"lora": {}, "full": {}})]
    found = roles(analyse(records, []))
    assert set(found.values()) == {"primary"} and len(found) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lorasp vs dora", "--primary: this run has no method 'dora'; name one of its methods: lora, lora:rank=8"),
        ("lora:rank=4 vs lora", "no method 'lora:rank=4'"),
    ],
)
def test_a_missing_method_is_named_with_those_that_there_are(text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        analyse(runs(), [], question=Question(text))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_methods_of_several_precisions_are_paired_within_each() -> None:
    two = {"lora": {}, "lorasp": {}}
    grids = build_grids([*runs(two), *runs(two, dtype="bf16")])
    assert resolve_primary("lorasp vs lora", grids) == {
        "glue": [("lorasp [dtype=fp32]", "lora [dtype=fp32]"), ("lorasp [dtype=bf16]", "lora [dtype=bf16]")]
    }


def test_a_suite_that_lacks_a_method_has_no_such_pair() -> None:
    other = [r.model_copy(update={"cell": r.cell.model_copy(update={"suite": "other"})}) for r in runs({"lora": {}})]
    grids = build_grids([*runs(), *(r.model_copy(update={"key": r.cell.key}) for r in other)])
    assert resolve_primary("lorasp vs lora", grids) == {"glue": [("lorasp", "lora")], "other": []}
    other = [r.model_copy(update={"cell": r.cell.model_copy(update={"suite": "b"})}) for r in runs({"dora": {}})]
    grids = build_grids([*runs(), *(r.model_copy(update={"key": r.cell.key}) for r in other)])
    with pytest.raises(UserError, match="no suite has both methods of 'dora vs lora'"):
        resolve_primary("dora vs lora", grids)


def test_options_that_tuning_added_do_not_hide_a_method() -> None:
    tuned = runs({"lora": {}, "lorasp": {"ratio": 0.3}}, protocol={"name": "tuned"})
    assert resolve_primary("lorasp vs lora", build_grids(tuned)) == {"glue": [("lorasp:ratio=0.3", "lora")]}
