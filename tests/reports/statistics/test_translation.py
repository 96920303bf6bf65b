"""Paired tests of translations against sacrebleu's own command."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import UserError
from reports.statistics.translation import compare_translations

REFERENCES = ["the cat sat on the mat today", "a dog ran in the park", "this is a small test of words"] * 20
FIRST = [text if i % 3 else text.replace("the", "a") for i, text in enumerate(REFERENCES)]
METHOD = [text if i % 4 else text.replace("a", "one") for i, text in enumerate(REFERENCES)]


def test_without_sacrebleu_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install sacrebleu"):
        compare_translations(FIRST, METHOD, REFERENCES)


@pytest.mark.parametrize("test", ["ar", "bs"])
def test_the_command_says_the_same(tmp_path: Path, test: str) -> None:
    pytest.importorskip("sacrebleu")
    for name, lines in (("ref", REFERENCES), ("first", FIRST), ("method", METHOD)):
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    flags = [f"--paired-{test}", f"--paired-{test}-n", "1000", "-f", "text", "-w", "4"]
    words = [sys.executable, "-m", "sacrebleu", "ref", "-i", "first", "method", "-m", "bleu", "chrf", *flags]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    numbers = re.findall(r"\(p = ([0-9.]+)\)", done.stdout)
    scores = re.findall(r"\d+\.\d{4}", done.stdout.partition("Baseline: first")[2])
    found = compare_translations(FIRST, METHOD, REFERENCES, test=test)  # type: ignore[arg-type]
    assert [one.p for one in found] == [pytest.approx(float(p), abs=1e-4) for p in numbers] and len(numbers) == 2
    assert all(f"{value:.4f}" in scores for one in found for value in (one.first, one.method))


def test_lengths_must_agree() -> None:
    pytest.importorskip("sacrebleu")
    with pytest.raises(UserError, match="give one for each"):
        compare_translations(FIRST[:3], METHOD, REFERENCES)


@pytest.mark.parametrize("test", ["ar", "bs"])
def test_the_same_texts_are_no_difference(test: Any) -> None:
    pytest.importorskip("sacrebleu")
    assert [one.p for one in compare_translations(FIRST, FIRST, REFERENCES, test=test)] == [1.0, 1.0]
