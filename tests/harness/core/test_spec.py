"""Spec from flags and TOML, and its stable folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.errors import UserError
from harness.core.spec_reading import make_spec


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text('methods = "head"\nmax-steps = 4\nsuite = ["glue"]\n')
    spec = make_spec({"methods": "lora"}, file)
    assert (spec.methods, spec.max_steps) == ("lora", (4,))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("metods = 'lora'", "did you mean 'methods'"),
        ("lr = -1", "lr='-1'"),
        ("x = [", "not TOML"),
        ("lr = 'a'", "lr='a'"),
    ],
)
def test_mistakes_in_the_file(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "s.toml"
    file.write_text(text)
    with pytest.raises(UserError, match=says) as caught:
        make_spec({}, file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"lr": "inf"}, "lr='inf'.*finite"),
        ({"epochs": "inf"}, "epochs='inf'.*finite"),
        ({"margin": "inf"}, "margin='inf'.*finite"),
        ({"suite": ""}, "at least 1 item"),
        ({"dtype": ","}, "at least 1 item"),
        ({"quantize": ""}, "at least 1 item"),
        ({"formats": ""}, "at least 1 item"),
    ],
)
def test_no_end_and_nothing_are_refused(flags: dict[str, str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        make_spec(flags)


def test_seeds_of_a_file_may_be_a_number(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text("seeds = 3")
    assert make_spec({}, file).seeds == "3"


@pytest.mark.parametrize("text", ["lr = [1e-3, 2e-3]", 'lr = "1e-3,2e-3"', 'lr = ["1e-3", "2e-3", "1e-3"]'])
def test_a_setting_of_several_values_in_a_file(tmp_path: Path, text: str) -> None:
    file = tmp_path / "s.toml"
    file.write_text(text)
    assert make_spec({}, file).lr == make_spec({"lr": "1e-3,2e-3"}).lr == (1e-3, 2e-3)
    assert make_spec({"lr": 5e-4}, file).lr == (5e-4,)


def test_a_spec_is_the_same_after_json() -> None:
    for spec in (
        make_spec({}),
        make_spec({"lr": "1e-3,2e-3", "batch_size": 8, "optimizer": "sgd", "validation": True}),
    ):
        assert type(spec).model_validate_json(spec.model_dump_json()) == spec


def test_folder_depends_on_the_question_not_on_the_machine() -> None:
    assert make_spec({}).folder == make_spec({"pack": 1, "device": "cpu", "threads": 1}).folder
    assert make_spec({}).folder != make_spec({"lr": 0.1}).folder


@pytest.mark.parametrize("margin", ["0", "-1", "x"])
def test_a_margin_is_above_zero(margin: str) -> None:
    with pytest.raises(UserError, match=f"margin='{margin}'"):
        make_spec({"margin": margin})


def test_a_margin_changes_no_result_and_no_folder() -> None:
    assert make_spec({"margin": 1.0}).folder == make_spec({}).folder
