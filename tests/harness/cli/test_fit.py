"""The command `fit` from the command line: its table, JSON and picture, and its messages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.profiling.capacity import PLANNED_SHARE
from harness.profiling.fit import describe_accuracy, find_largest, load_measured

SMALL = ["fit", "--shapes", "minilm", "--methods", "lora,full", "--precisions", "fp32,nf4", "--recompute", "none"]
SMALL += ["--lengths", "64", "--batch-sizes", "2,8", "--memory", "1,80", "--no-cache"]


@pytest.mark.slow
def test_rows_follow_from_their_peaks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "new" / "fit.svg"
    assert main([*SMALL, "--json", "--plot", str(picture)]) == 0
    answer = json.loads(capsys.readouterr().out)
    names = {(row["method"], row["precision"]) for row in answer["rows"]}
    assert names == {("lora", "fp32"), ("lora", "nf4"), ("full", "fp32")}
    for row in answer["rows"]:
        assert 22e6 < row["parameters"] < 23e6
        assert row["peaks"]["2"] < row["peaks"]["8"] < 2**30
        assert row["largest"] == {"1": 8, "80": 8}
    peaks = {(row["method"], row["precision"]): row["peaks"]["8"] for row in answer["rows"]}
    assert peaks["lora", "nf4"] < peaks["lora", "fp32"] < peaks["full", "fp32"]
    assert picture.read_bytes().lstrip().startswith(b"<?xml")


def test_a_batch_fits_into_the_planned_share() -> None:
    peaks = {1: 100, 4: 900, 16: 901}
    memory = round(900 / PLANNED_SHARE)
    assert [find_largest(peaks, size) for size in (memory, 10 * memory, 100)] == [4, 16, None]
    assert find_largest({}, memory) is None


def test_the_stated_accuracy_is_that_of_the_measured_steps() -> None:
    measured = load_measured()
    errors = [100 * (step.predicted - step.measured) / step.measured for step in measured]
    text = describe_accuracy(measured)
    assert f"{len(measured)} steps" in text
    assert f"{min(errors):+.1f}% to {max(errors):+.1f}%" in text


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--memory", "24GiB"], "--memory 24GiB: allowed"),
        (["--batch-sizes", "0"], "--batch-sizes 0: allowed"),
        (["--lengths", ""], "--lengths"),
        (["--shapes", "lama-7b"], "llama-7b"),
        (["--shapes", "t5-small"], "encoder-decoder"),
        (["--shapes", "bert-base", "--lengths", "513"], "512 at most"),
        (["--precisions", "bf17"], "--precisions bf17: allowed"),
        (["--recompute", "some"], "--recompute some: allowed"),
        (["--methods", "lorra"], "lora"),
        (["--plot", "fit.txt"], ".svg, .png"),
    ],
)
def test_a_mistake_is_one_line(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", *flags]) == 2
    output = capsys.readouterr()
    assert message in output.err and output.err.count("\n") == 1 and not output.out
