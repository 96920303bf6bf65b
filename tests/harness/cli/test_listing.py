"""What is listed: every method and strategy with its facts, as a table, a page and JSON."""

from __future__ import annotations

import json
import re

import pytest

from harness.cli.main import main
from harness.core.method import METHODS, STRATEGIES
from harness.profiling.footprint import load_footprints


def asked(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 0
    return capsys.readouterr().out


def test_methods_as_json_has_options_rates_and_levels(capsys: pytest.CaptureFixture[str]) -> None:
    found = {m["name"]: m for m in json.loads(asked(["methods", "--json"], capsys))}
    assert sorted(found) == METHODS.names()
    ratio = found["lorasp"]["options"]["ratio"]
    assert ratio["type"] == "float" and ratio["default"] == 0.5 and ratio["allowed"] == "above 0, at most 1"
    assert found["lorasp"]["options"]["select"]["allowed"] == STRATEGIES.names()
    assert found["lora"]["learning_rates"]["paper"]["value"] == 5e-4
    assert found["full"]["quantize"] == [] and "int8" not in found["dora"]["quantize"]
    assert found["lora"]["quantize"] == ["fp4", "int8", "nf4", "nf4-dq", "sim2", "sim3", "sim6"]
    assert found["lora"]["packs_with"] == ["lora", "lora-fa", "loraplus", "lorasp", "pissa", "rslora"]


def test_every_option_says_what_it_means_and_what_is_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    for method in json.loads(asked(["methods", "--json"], capsys)):
        for name, option in method["options"].items():
            assert option["meaning"] and option["allowed"] and option["type"], f"{method['name']}:{name}"


def test_the_tables_have_a_line_each_and_the_measured_shares(capsys: pytest.CaptureFixture[str]) -> None:
    lines = asked(["methods"], capsys).splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == METHODS.names()
    lora_fa = next(line for line in lines if line.startswith("lora-fa"))
    kept = load_footprints()["lora-fa"]["activations"] / load_footprints()["lora"]["activations"]
    assert "arXiv 2308.03303  50.0 %" in lora_fa and f"{100 * kept:.1f} %" in lora_fa and kept < 1
    lines = asked(["strategies"], capsys).splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == STRATEGIES.names()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("lora", "packs with: lora, lora-fa"),
        ("lorasp-column", r"select=column \(str: .*\n(.*\n)*.*activations: 95\.\d %"),
        ("qlora", "stands for lora:quantize=nf4-dq,dtype=bf16"),
        ("qlorasp", "stands for lorasp:quantize=nf4-dq"),
        ("dora", "not on int8: peft"),
        ("full", "quantize: no"),
    ],
)
def test_the_page_of_a_method(name: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = asked(["methods", "show", name], capsys)
    assert re.search(says, page) and page.startswith(f"{name}: ")
    assert json.loads(asked(["methods", "show", name, "--json"], capsys))["name"] == name


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_the_page_of_a_strategy(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    page, found = asked(["strategies", "show", name], capsys), STRATEGIES.get(name)
    assert f"always saves, against LoRA of the same rank: {', '.join(found.saves)}\n  {found.why}" in page
    assert f"run it as: lorasp-{name}" in page
    assert json.loads(asked(["strategies", "show", name, "--json"], capsys))["saves"] == list(found.saves)


def test_a_terminal_gets_a_drawn_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    drawn = asked(["methods"], capsys)
    assert "┃" in drawn and "lorasp" in drawn
