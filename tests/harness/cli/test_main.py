"""The command line as its user meets it: exit codes, one line an error, help with examples, no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_type_hints

import pytest
import typer
from typer.models import OptionInfo

from harness.cli.main import app, main
from harness.core.spec import Spec

VERBS = tuple("run report show compare watch merge methods strategies suites new schema bench doctor".split())


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_each_verb_has_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert f"python -m harness {verb}" in capsys.readouterr().out


def test_the_list_of_commands_has_whole_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--help"], ["bench", "--help"]):
        assert main(words) == 0
        commands = capsys.readouterr().out.partition("Commands:\n")[2].splitlines()
        assert commands and all(line.endswith(".") and not line.endswith("...") for line in commands)


def test_help_names_the_choices_of_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for shown in (
        "--device auto|cpu|cuda ",
        "--dtype fp32|bf16[,...] ",
        "--lr NUMBER[,...] ",
        "--out PATH ",
        "--pack INTEGER ",
    ):
        assert shown in text
    assert "--retry / --no-retry run" in text


def list_callbacks(group: typer.Typer) -> Iterator[Callable[..., object]]:
    """The function of each command, those of its groups too."""
    yield from (command.callback for command in group.registered_commands if command.callback)
    for inner in group.registered_groups:
        assert inner.typer_instance
        yield from list_callbacks(inner.typer_instance)


def test_no_option_is_named_by_its_metavar_alone() -> None:
    """typer 0.27 takes a metavar that is the option's name in capitals for the name: --model became --MODEL."""
    named, unnamed = [], []
    for callback in list_callbacks(app):
        for name, hint in get_type_hints(callback, include_extras=True).items():
            for option in (x for x in getattr(hint, "__metadata__", ()) if isinstance(x, OptionInfo)):
                # in Annotated the first name is given where a default would be
                declared = option.param_decls or str(option.default).startswith("--")
                (named if declared or str(option.metavar).lower() != name else unnamed).append(name)
    assert unnamed == [] and len(named) > 50


@pytest.mark.parametrize("name", [name for name, field in Spec.model_fields.items() if field.default not in (None, ())])
def test_help_states_the_default_of_a_flag(name: str) -> None:
    field = Spec.model_fields[name]
    default = ",".join(field.default) if isinstance(field.default, tuple) else field.default
    if isinstance(default, bool):
        default = "on" if default else "off"
    assert f"default: {default}" in (field.description or "")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "--methods", "lorra"], "did you mean 'lora'"),
        (["run", "--methods", "lorasp:ratio=1.5"], "ratio=1.5"),
        (["run", "--tasks", "sst3"], "did you mean 'sst2'"),
        (["run", "--suite", "gleu"], "did you mean 'glue'"),
        (["run", "--preset", "quik"], "did you mean 'quick'"),
        (["run", "--metods", "lora"], "--methods"),
        (["run", "--lr", "fast"], "lr='fast': input should be a valid number"),
        (["run", "--lr", "1e-3,,fast"], "lr='fast': input should be a valid number"),
        (["run", "--lr", "1e-3,-2"], "lr='-2': input should be greater than 0"),
        (["run", "--lr", ""], "lr='': input should be a valid number"),
        (["run", "--batch-size", "8,0"], "batch-size='0': input should be greater than or equal to 1"),
        (["run", "--batch-size", "8.5"], "batch-size='8.5': input should be a valid integer"),
        (["run", "--warmup", "0.1,1.5"], "warmup='1.5': allowed: a share below 1"),
        (["run", "--schedule", "linear,cosin"], "did you mean 'cosine'"),
        (["run", "--optimizer", "adamw,adam_w"], "did you mean 'adamw'"),
        (["run", "--weight-decay", "-1"], "weight-decay='-1'"),
        (["run", "--lr", ",".join(f"{i}e-5" for i in range(1, 700))], "allowed: 1,000 in all"),
        (["run", "--suite", "mmlu", "--validation"], "--validation: suite mmlu"),
        (["run", "--model", "/nowhere"], "give a folder with config.json"),
        (["run", "--methods", "lora,lora:target=qeury"], "lora:target=qeury on embedded:encoder: target=qeury"),
        (["run", "--methods", "lora:rank=65"], "allowed: 64 at most"),
        (["run", "--device", "cuda", "--tasks", "rte"], "no CUDA GPU"),
        (["run", "--data-file", "qnli/train=/nowhere.tsv"], "no such file"),
        (["run", "--plugin", "/nowhere.py"], "does not exist"),
        (["rum"], "run"),
        (["schema", "recrod"], "did you mean 'record'"),
        (["report", "/nowhere"], "holds no run"),
        (["methods", "shew", "lora"], "allowed: methods, or methods show NAME"),
        (["methods", "show", "lorra"], "did you mean 'lora'"),
        (["strategies", "show", "colum"], "did you mean 'column'"),
        (["methods", "--plugin", "/nowhere.py"], "does not exist"),
        (["run", "--formats", "htm"], "did you mean 'html'"),
        (["run", "--figures", "pgn"], "did you mean 'png'"),
        (["show", "abc", "/nowhere"], "no stored cells in /nowhere"),
        (["compare", "/nowhere", "/nowhere"], "holds no run"),
        (["watch", "/nowhere"], "holds no run"),
        (["compare", "/nowhere", "/nowhere", "--fail-if-worse", "nan"], "allowed: points, 0 or more"),
        (["run", "--threads", "100000"], "less than or equal to 1024"),
        (["run", "--init-from", ""], "at least 1 character"),
        (["plan", "--out", ""], "out='': no folder is named"),
        (["plan", "--data-dir", " "], "data-dir=' ': no folder is named"),
        # an empty shell variable must not name the current folder
        *(
            ([*words, ""], "no path is given")
            for words in (
                ["board"],
                ["board", "results", "--to"],
                ["export", "every-eval-ever", "run", "--to"],
                ["report", "run", "--to"],
                ["report"],
                ["watch"],
                ["show", "abc"],
                ["compare", "run"],
                ["merge", "adapter", "--model", "m", "--out"],
                ["new", "method", "mine", "--out"],
                ["doctor", "--data-dir"],
                ["bench", "recompute", "--out"],
                ["methods", "--plugin"],
                ["plan", "--spec"],
                ["push-to-hub", "--method", "lora", "--task", "rte", "--repo", "a/b"],
                ["examples", "--task", "rte", "--between", "a,b"],
                ["store", "check"],
                ["store", "gc"],
                ["store", "merge", "run"],
            )
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    if "cuda" in words:
        import torch

        if torch.cuda.is_available():
            pytest.skip("there is a GPU here")
    extra = ["--out", str(tmp_path)] if words[0] == "run" else []
    assert main([*words, *extra]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert says in lines[-1] and lines[-1].startswith("error: ")
    assert sum(line.startswith("error") for line in lines) == 1 and "Traceback" not in "".join(lines)


def test_out_that_cannot_be_written_is_refused_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["run", "--out", str(tmp_path / "file" / "x")]) == 2
    assert "can be written" in capsys.readouterr().err


def test_a_mistake_of_ours_is_one_line_too_and_a_traceback_only_with_debug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("lost")

    monkeypatch.setattr("harness.runner.run.run", broken)
    assert main(["run"]) == 1
    assert capsys.readouterr().err == "error: KeyError: 'lost'; --debug shows where\n"
    with pytest.raises(KeyError):
        main(["--debug", "run"])


def test_json_prints_one_object_and_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "--tasks", "rte", "--seeds", "1", "--max-steps", "2", "--eval-rows", "20", "--no-profile", "--json"]
    words += ["--formats", "md", "--figures", ""]
    assert main([*words, "--out", str(tmp_path)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert {k: answer[k] for k in ("out", "cells", "ok", "failed")} == {
        "out": str(tmp_path),
        "cells": 2,
        "ok": 2,
        "failed": 0,
    }
    assert Path(answer["report"]).is_file() and answer["seconds"] > 0
    assert main([*words, "--methods", "lora:lr=1e30", "--out", str(tmp_path)]) == 1
    assert json.loads(capsys.readouterr().out)["failed"] == 1
    assert main(["report", str(tmp_path), "--formats", "md", "--figures", ""]) == 0


def test_suites_and_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["suites", "--json"]) == 0
    suites = {s["name"]: s for s in json.loads(capsys.readouterr().out)}
    glue, wmt16 = suites["glue"], suites["wmt16"]
    assert len(glue["tasks"]) == 9 and len(glue["averages"]["glue"]) == 8
    assert len(wmt16["tasks"]) == 2 and set(wmt16["averages"]) == {"wmt16"}
    assert main(["schema", "record"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Record"


LISTS = (
    ["methods", "show", "lorasp-column"],
    ["methods", "--json"],
    ["strategies"],
    ["strategies", "show", "fisher"],
    ["suites"],
)


def test_help_and_report_import_no_torch(tmp_path: Path) -> None:
    words = "run --tasks rte --seeds 1 --max-steps 1 --eval-rows 20 --no-profile --formats csv --figures".split()
    assert main([*words, "", "--out", str(tmp_path)]) == 0
    every = [["--help"], ["run", "--help"], ["methods"], *LISTS, ["report", str(tmp_path)]]
    code = f"""
import sys
from harness.cli.main import main
for words in {every!r}:
    assert main(words) == 0, words
    assert "torch" not in sys.modules, words
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_verb_that_lacks_its_own_shows_what_there_is_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench"]) == 2
    shown = capsys.readouterr().err
    assert not shown.startswith("error") and "\n  grid " in shown and "\n  startup " in shown
