"""Every declared study parses, names a rule, says what each answer means, and plans."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli.main import main
from harness.core.errors import UserError
from harness.core.method import STRATEGIES, SUITES
from harness.planning.plan import make_plan
from studies.rulebook import RULES, check_study
from studies.specs import build_specs, list_grid_rates, replace_seeds
from studies.study import list_studies, load_study

TRAINED = [name for name in list_studies() if load_study(name).grids]


def test_the_studies_are_there() -> None:
    wanted = {"parity", "memory", "seed-sensitivity", "regularisation", "strategies", "scaling", "precision", "ratio"}
    assert wanted | {"accounting", "claims", "multilingual", "domain"} <= set(list_studies())


@pytest.mark.parametrize("name", list_studies())
def test_declared(name: str) -> None:
    study = load_study(name)
    assert study.rule in RULES and set(study.answers) == {"confirmed", "contradicted", "undecided"}
    assert study.question.endswith("?") and study.claim.endswith(".")
    assert study.margin is not None or study.rule in ("memory", "scaling", "accounting", "claims")


@pytest.mark.parametrize("name", TRAINED)
def test_plans(name: str, tmp_path: Path) -> None:
    study = load_study(name)
    made = build_specs(study, {"out": tmp_path})
    if any(suite not in SUITES for spec in made for suite in spec.suite):
        pytest.skip(f"suite {made[0].suite[0]} is not registered")
    for spec, grid in zip(made, study.grids, strict=True):
        plan = make_plan(spec)
        assert plan.cells and spec.out == tmp_path and spec.margin == study.margin
        streams = {tuple(sorted(cell.cell.seeds.items())) for cell in plan.cells}
        assert study.rule in ("memory", "scaling") or len(streams) >= 3, grid


def test_methods_that_decide_are_planned(tmp_path: Path) -> None:
    for name in ("ratio", "parity", "regularisation"):
        study = load_study(name)
        labels = {c.cell.label for spec in build_specs(study, {"out": tmp_path}) for c in make_plan(spec).cells}
        deciding = {word.partition(" against ")[0] for word in study.options["deciding"]}
        assert deciding <= labels


def test_claims_name_studies() -> None:
    for claim in load_study("claims").options["claims"]:
        assert claim["says"] and claim["origin"] and ("command" in claim or claim["study"] in list_studies())


def test_every_strategy_is_compared(tmp_path: Path) -> None:
    plan = make_plan(build_specs(load_study("strategies"), {"out": tmp_path})[0])
    assert {c.cell.options.get("select", "random") for c in plan.cells} == set(STRATEGIES.names())


def test_flags_override_the_quick_budget() -> None:
    study = load_study("parity")
    (quick,) = build_specs(study, {})
    (small,) = build_specs(study, {"preset": "small"})
    (given,) = build_specs(study, {"max_steps": 7, "seeds": 2, "margin": 3.0})
    assert quick.max_steps == (100,) and small.max_steps == (500,)
    assert (given.max_steps, given.seeds, given.margin) == ((7,), "2", 3.0)
    assert len({quick.folder, small.folder, given.folder}) == 3
    assert quick.folder == build_specs(study, {"device": "cpu"})[0].folder
    assert quick.folder.name.startswith("study-parity-quick-")


def test_a_number_of_seeds_keeps_named_streams() -> None:
    assert replace_seeds("init=0..4,mask=0..4", "3") == "init=0..2,mask=0..2"
    assert replace_seeds("init=0..4", "mask=0..1") == "mask=0..1"
    assert replace_seeds("5", "3") == "3"


def test_wrong_name_gives_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="did you mean 'parity'"):
        load_study("paritty")
    assert main(["study", "paritty"]) == 2
    assert "did you mean 'parity'" in capsys.readouterr().err


DECLARED = """
question = "Is it?"
claim = "It is."
origin = "here"
{}
[answers]
confirmed = "a"
contradicted = "b"
undecided = "c"
"""
WHOLE = DECLARED.format('rule = "streams"\nmargin = 2.0')


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("question = ", "not TOML"),
        (WHOLE.replace("question", "qestion"), "question: field required; keys: name, question"),
        (WHOLE.replace("2.0", "-1.0"), "margin: input should be greater than 0"),
        (WHOLE.replace('undecided = "c"', ""), "answers.undecided is missing"),
        (WHOLE.replace('"streams"', '"steams"'), "did you mean 'streams'"),
        ('grids = [{ suite = "glue", methods = "lora", takss = "rte" }]' + WHOLE, "takss"),
        ('grids = [{ suite = "glue", methods = "lroa", tasks = "rte" }]' + WHOLE, "did you mean 'lora'"),
        ("grids = [{ tasks = 'rte' }]" + WHOLE, "a grid without methods"),
    ],
)
def test_a_broken_file_is_one_line(content: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(content)
    assert main(["study", str(path), "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line and line.startswith("error: ")
    assert not list(tmp_path.rglob("*.json"))


def test_a_broken_declared_file_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("studies.study.DECLARED", tmp_path)
    (tmp_path / "mine.toml").write_text("[answers")
    for words in (["studies"], ["study", "mine"]):
        assert main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "mine.toml: not TOML" in line


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(WHOLE)
    assert (load_study(str(path)).name, load_study(str(path)).question) == ("mine", "Is it?")


def glue_folder(folder: Path) -> Path:
    """Folders in the official layouts of SST-2 and RTE."""
    for split in ("train", "dev"):
        rows = {
            "SST-2": ["sentence\tlabel", *(f"film {i}\t{i % 2}" for i in range(6))],
            "RTE": [
                "index\tsentence1\tsentence2\tlabel",
                *(f"{i}\ta\tb{i}\t{('entailment', 'not_entailment')[i % 2]}" for i in range(6)),
            ],
        }
        for task, lines in rows.items():
            (folder / "glue" / task).mkdir(parents=True, exist_ok=True)
            (folder / "glue" / task / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize("name", [n for n in TRAINED if load_study(n).grids[0]["suite"] == "glue" and n != "scaling"])
def test_plans_on_real_data_with_the_small_preset(name: str, tmp_path: Path) -> None:
    """Each glue study on official files, at the whole budget of the preset, but for one step of memory."""
    study = load_study(name)
    model = ("embedded:encoder",)  # in the place of MiniLM, which need not be installed
    given: dict[str, object] = {
        "preset": "small",
        "data_dir": glue_folder(tmp_path),
        "out": tmp_path / "out",
        "model": model,
    }
    if name != "memory":  # they name tasks whose files are not here
        given["tasks"] = ("rte", "sst2")
    made = build_specs(study, given)
    for plan in map(make_plan, made):
        assert plan.cells and {c.cell.preset for c in plan.cells} == {"small"} and not plan.dropped
        assert all(planned.data.source == "data-dir" for planned in plan.cells)
        steps = {c.cell.protocol.max_steps for c in plan.cells}
        assert steps == {{"memory": 1, "strategies": None}.get(name, 500)}


def test_without_a_model_for_the_suite_one_line_says_how_to_give_one(tmp_path: Path) -> None:
    study = load_study("parity").model_copy(
        update={"grids": ({"suite": "wmt16", "methods": "lora", "tasks": "en-ro"},)}
    )
    with pytest.raises(UserError, match=r"no model for suite 'wmt16'; give one: --model wmt16=PATH"):
        make_plan(build_specs(study, {"preset": "small", "out": tmp_path})[0])


@pytest.mark.parametrize("name", ["memory", "scaling"])
def test_memory_and_scaling_take_a_shape(name: str, tmp_path: Path) -> None:
    made = build_specs(load_study(name), {"model": ("shape:minilm",), "out": tmp_path})
    assert {planned.source.name for spec in made for planned in make_plan(spec).cells} == {"shape:minilm"}


def test_listing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["studies"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in list_studies())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('rule = "compared"\nmargin = 1.0', "options.sense is missing; compared needs sense"),
        ('rule = "compared"\nmargin = 1.0\noptions = { sense = "not wrse" }', "did you mean 'not worse'"),
        ('rule = "compared"\noptions = { sense = "equal" }', "margin is missing; compared judges at one"),
        ('rule = "contrast"\nmargin = 1.0\noptions = { subject = "lorasp" }', "options.against is missing"),
        ('rule = "claims"\noptions = { claims = [{ says = "x" }] }', "a claim needs says, origin"),
    ],
)
def test_a_study_that_cannot_be_judged_is_refused_before_training(
    text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.toml").write_text(
        DECLARED.format(f'grids = [{{ methods = "lora,lorasp", tasks = "rte" }}]\n{text}')
    )
    assert main(["study", str(tmp_path / "own.toml"), "--out", str(tmp_path / "out")]) == 2
    assert says in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", list_studies())
def test_each_declared_study_can_be_judged(name: str) -> None:
    check_study(load_study(name))


def test_a_number_of_seeds_replaces_that_of_a_range_of_fresh_seeds() -> None:
    assert replace_seeds("200..229,length=0", "4") == "200..203,length=0"


def test_a_rate_on_the_command_line_replaces_the_declared_ones() -> None:
    study = load_study("parity")
    small = {"preset": "small"}
    assert build_specs(study, small)[0].lr == (1e-4, 7e-4, 2e-3, 2.8e-3, 4e-3)
    assert build_specs(study, small | {"lr": (1e-3,)})[0].lr == (1e-3,)
    assert list_grid_rates(study, small | {"lr": (1e-3,)}) == [{}] == list_grid_rates(study, {})
