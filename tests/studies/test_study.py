"""Every declared study parses, names a rule, says what each answer means, and plans."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli import main
from harness.contracts import STRATEGIES, SUITES
from harness.errors import UserError
from harness.plan import make_plan
from studies.rulebook import RULES
from studies.specs import reseeded, specs
from studies.study import load, names

TRAINED = [name for name in names() if load(name).grids]


def test_the_studies_are_there() -> None:
    wanted = {"parity", "memory", "seed-sensitivity", "regularisation", "strategies", "scaling", "precision", "ratio"}
    assert wanted | {"accounting", "claims", "multilingual", "domain"} <= set(names())


@pytest.mark.parametrize("name", names())
def test_declared(name: str) -> None:
    study = load(name)
    assert study.rule in RULES and set(study.answers) == {"confirmed", "contradicted", "undecided"}
    assert study.question.endswith("?") and study.claim.endswith(".")
    assert study.margin is not None or study.rule in ("memory", "scaling", "accounting", "claims")


@pytest.mark.parametrize("name", TRAINED)
def test_plans(name: str, tmp_path: Path) -> None:
    study = load(name)
    made = specs(study, {"out": tmp_path})
    if any(suite not in SUITES for spec in made for suite in spec.suite):
        pytest.skip(f"suite {made[0].suite[0]} is not registered")
    for spec, grid in zip(made, study.grids, strict=True):
        plan = make_plan(spec)
        assert plan.cells and spec.out == tmp_path and spec.margin == study.margin
        streams = {tuple(sorted(cell.seeds.items())) for cell in plan.cells}
        assert study.rule in ("memory", "scaling") or len(streams) >= 3, grid


def test_methods_that_decide_are_planned(tmp_path: Path) -> None:
    for name in ("ratio", "parity", "regularisation"):
        study = load(name)
        labels = {c.label for spec in specs(study, {"out": tmp_path}) for c in make_plan(spec).cells}
        deciding = {word.partition(" against ")[0] for word in study.options["deciding"]}
        assert deciding <= labels


def test_claims_name_studies() -> None:
    for claim in load("claims").options["claims"]:
        assert claim["study"] in names() and claim["says"] and claim["origin"]


def test_every_strategy_is_compared(tmp_path: Path) -> None:
    plan = make_plan(specs(load("strategies"), {"out": tmp_path})[0])
    assert {c.options.get("select", "random") for c in plan.cells} == set(STRATEGIES.names())


def test_flags_override_the_quick_budget() -> None:
    study = load("parity")
    (quick,) = specs(study, {})
    (small,) = specs(study, {"preset": "small"})
    (given,) = specs(study, {"max_steps": 7, "seeds": 2, "margin": 3.0})
    assert quick.max_steps == 100 and small.max_steps is None
    assert (given.max_steps, given.seeds, given.margin) == (7, "2", 3.0)
    assert len({quick.folder, small.folder, given.folder}) == 3
    assert quick.folder == specs(study, {"device": "cpu"})[0].folder
    assert quick.folder.name.startswith("study-parity-quick-")


def test_a_number_of_seeds_keeps_named_streams() -> None:
    assert reseeded("init=0..4,mask=0..4", "3") == "init=0..2,mask=0..2"
    assert reseeded("init=0..4", "mask=0..1") == "mask=0..1"
    assert reseeded("5", "3") == "3"


def test_wrong_name_gives_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="did you mean 'parity'"):
        load("paritty")
    assert main(["study", "paritty"]) == 2
    assert "did you mean 'parity'" in capsys.readouterr().err


def test_listing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["studies"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in names())
