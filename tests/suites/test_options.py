"""Options of suites: the ways to give one, what is refused, and what reaches the cells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.cli.main import main
from harness.core.errors import UserError
from harness.core.method import SUITES
from harness.core.protocol import Protocol
from harness.core.spec import Spec
from harness.core.spec_reading import make_spec
from harness.planning.plan import make_plan
from suites.mmlu import Mmlu
from suites.xnli import Xnli

MMLU: dict[str, Any] = {"suite": "mmlu", "methods": "lora", "seeds": "1"}


def protocols(flags: dict[str, Any], file: Path | None = None) -> set[int]:
    return {cell.protocol.shots for cell in make_plan(make_spec(MMLU | flags, file)).cells}


def test_each_way_to_give_an_option_means_the_same(tmp_path: Path) -> None:
    specs = [make_spec(MMLU | flags) for flags in ({"shots": 3}, {"shots": "3"}, {"option": ("shots=3",)})]
    for n, text in enumerate(("shots = 3", 'option = ["shots=3"]', "[option]\nshots = 3")):
        (tmp_path / f"{n}.toml").write_text(text)
        specs.append(make_spec(MMLU, tmp_path / f"{n}.toml"))
    assert len({spec.model_dump_json() for spec in specs}) == 1
    assert {planned.cell.protocol.shots for planned in make_plan(specs[0]).cells} == {3}


def test_a_flag_goes_over_the_file_and_the_order_does_not_matter(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text("shots = 1\npacked = true")
    spec = make_spec(MMLU | {"option": ("shots=2",)}, file)
    assert spec.option == ("packed=true", "shots=2")
    assert spec.folder == make_spec(MMLU | {"shots": 2, "packed": True}).folder


def test_only_the_suite_that_has_the_option_gets_it() -> None:
    plan = make_plan(make_spec({**MMLU, "suite": "glue,mmlu", "tasks": "rte,mmlu", "shots": 2}))
    assert {planned.cell.suite: planned.cell.protocol.shots for planned in plan.cells} == {"glue": 0, "mmlu": 2}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"suite": "glue", "shots": 2}, r"option 'shots': no suite of this run \(glue\) has it"),
        ({"option": ("shotz=2",)}, r"option 'shotz': .* packed, shots, template"),
        ({"option": ("shots",)}, "allowed: NAME=VALUE"),
        ({"option": ("shots=2",), "shots": 3}, "'shots' is given twice"),
        ({"option": ("shots=two",)}, "shots='two': input should be a valid integer"),
        ({"shots": 1001}, "shots='1001': input should be less than or equal to 1000"),
        ({"template": "x"}, "template='x': input should be 'alpaca' or 'plain'"),
        ({"option": ("packed=perhaps",)}, "packed='perhaps': input should be a valid boolean"),
        ({"nonsense": 1}, "unknown field 'nonsense'"),
        ({"suite": "table", "text": "a\0b"}, "NUL"),
    ],
)
def test_what_is_refused(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        make_plan(make_spec(MMLU | flags))
    assert "\n" not in str(caught.value)


def test_an_option_of_no_chosen_suite_ends_with_2_and_no_cell(tmp_path: Path) -> None:
    assert main(["run", "--tasks", "rte", "--shots", "2", "--out", str(tmp_path / "out")]) == 2
    assert not list(tmp_path.rglob("*.json"))


def test_options_that_set_the_protocol_have_its_types_and_defaults() -> None:
    options = [option for _, kind in SUITES for option in kind.options if option.name in Protocol.model_fields]
    assert {option.name for option in options} == {"max_target_length", "beams", "shots", "template", "packed"}
    for option in options:
        assert option.default == Protocol(lr=1.0).model_dump()[option.name]
        assert option.name not in Spec.model_fields


def test_configuring_one_run_leaves_the_next_as_it_was() -> None:
    from harness.core.method import SourceRequest

    configured = Xnli().configure(SourceRequest("embedded"), ("de",))
    assert type(configured) is Xnli and list(configured.tasks) == ["de"]
    assert len(Xnli().tasks) == 15 and Mmlu(shots=2).given == {"shots": 2} and Mmlu().given == {}


@pytest.mark.parametrize("name", [name for name, _ in SUITES])
def test_show_names_each_option_with_its_bounds(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["suites", "show", name, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["options"]
    assert list(shown) == [option.name for option in SUITES.get(name).options]
    assert main(["suites", "show", name]) == 0
    page = capsys.readouterr().out
    assert all(option.flag in page and option.help in page for option in SUITES.get(name).options)


def test_the_help_of_run_has_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--help"]) == 0
    page = capsys.readouterr().out
    assert all(f"--{option.flag}" in page for _, kind in SUITES for option in kind.options)
