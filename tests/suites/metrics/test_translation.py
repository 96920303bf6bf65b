"""Scores against sacrebleu's command line, and the normalisation against its rules."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.core.metric import METRICS
from suites.metrics.translation import Sacrebleu, normalize_romanian

HYPOTHESES = ["Pisica vede un câine mare.", "El a spus că vine mîine, nu azi.", "Ţara este mare", "x y z w"]
REFERENCES = ["Pisica vede câinele mare.", "El a spus că va veni mâine, nu azi.", "Țara este foarte mare.", "a b c d"]


def score(name: str, hypotheses: list[str], references: list[str]) -> tuple[float, str]:
    metric = METRICS.get(name)()
    assert isinstance(metric, Sacrebleu)
    return metric.compute_corpus(hypotheses, references)


def command_line(folder: Path, hypotheses: list[str], references: list[str], metric: str) -> tuple[str, str]:
    """What `sacrebleu` prints with all digits: the score and the signature."""
    (folder / "hypotheses").write_text("\n".join(hypotheses) + "\n")
    (folder / "references").write_text("\n".join(references) + "\n")
    words = [sys.executable, "-m", "sacrebleu", "references", "-i", "hypotheses", "-m", metric, "-w", "14"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    return f"{told['score']:.14f}", told["signature"]


@pytest.mark.parametrize("metric", ["bleu", "chrf2", "ter"])
def test_the_command_line_prints_the_same(metric: str, tmp_path: Path) -> None:
    value, signature = score(metric, HYPOTHESES, REFERENCES)
    assert 0 < value < 100
    assert (f"{value:.14f}", signature) == command_line(tmp_path, HYPOTHESES, REFERENCES, metric.rstrip("2"))
    assert METRICS.get(metric)().signature() == signature


def test_normalised_bleu_is_bleu_of_normalised_texts(tmp_path: Path) -> None:
    value, _ = score("bleu_normalised", HYPOTHESES, REFERENCES)
    plain = [["Pisica vede un caine mare.", "El a spus ca vine miine, nu azi.", "Tara este mare", "x y z w"]]
    plain.append(
        ["Pisica vede cainele mare.", "El a spus ca va veni maine, nu azi.", "Tara este foarte mare.", "a b c d"]
    )
    assert f"{value:.14f}" == command_line(tmp_path, *plain, "bleu")[0]
    assert value > score("bleu", HYPOTHESES, REFERENCES)[0]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("ŞşŢţ", "SsTt"),  # with cedillas, as older texts have them
        ("ȘșȚț", "SsTt"),
        ("ĂăÂâÎî", "AaAaIi"),
        ("naïve façade Ö", "naïve façade Ö"),  # letters of other languages stay
    ],
)
def test_what_normalisation_does_to_each_letter(text: str, plain: str) -> None:
    assert normalize_romanian(text) == plain
