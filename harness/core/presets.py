"""The three presets: the model, data and training budget that a command uses unless flags say otherwise.

quick   embedded tiny models, synthetic stand-in data   offline, about a minute
small   MiniLM, real data                               a laptop or one GPU
paper   roberta-base and others, real data              the tables of arXiv 2403.08822
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from harness.core.errors import build_unknown_error

EMBEDDED = "embedded:"
"""Prefix of the names of models that ship with the package."""
MINILM = "all-MiniLM-L6-v2"


@dataclasses.dataclass(frozen=True)
class Preset:
    """One preset.

    models      suite -> model name; a suite without one needs --model
    source      where rows come from without --data-dir
    protocol    values of fields of Protocol, for all suites
    suites      suite -> values of fields of Protocol that override those
    notes       suite -> note that reports print about its model
    """

    name: str
    summary: str
    models: Mapping[str, str]
    source: Literal["embedded", "hub"]
    protocol: Mapping[str, Any]
    suites: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    notes: Mapping[str, str] = dataclasses.field(default_factory=dict)


_QUICK = Preset(
    "quick",
    "tiny encoder and generated data, both shipped: offline, about a minute; no evidence on real data",
    {
        "glue": "embedded:encoder",
        "wmt16": "embedded:seq2seq",
        "mmlu": "embedded:causal",
        "xnli": "embedded:multilingual",
        "domain": "embedded:encoder",
        "table": "embedded:encoder",
    },
    "embedded",
    {"epochs": 10.0, "max_steps": 150, "batch_size": 16, "max_length": 32, "warmup": 0.08},
    {
        "wmt16": {"max_steps": 200, "max_length": 64, "max_target_length": 64, "eval_rows": 200},
        "mmlu": {"max_steps": 200, "max_length": 96, "template": "plain"},
        "xnli": {"max_steps": 300},
    },
)
_SMALL = Preset(
    "small",
    "all-MiniLM-L6-v2 (22M parameters) on real data: a laptop or one GPU",
    {suite: MINILM for suite in ("glue", "xnli", "domain", "table")},
    "hub",
    {"epochs": 3.0, "batch_size": 32, "max_length": 128, "warmup": 0.06},
    notes={"xnli": f"model: {MINILM} was trained on English; other languages reach it as word pieces it hardly knows"},
)
_PAPER = Preset(
    "paper",
    "roberta-base on real data: the paper's tables",
    {
        **{suite: "FacebookAI/roberta-base" for suite in ("glue", "domain", "table")},
        "xnli": "FacebookAI/xlm-roberta-base",
        # mBART (arXiv 2001.08210) was pretrained on Romanian text, and unlike T5 on no translations; label smoothing
        # and beam width below are those of its own fine-tuning
        "wmt16": "facebook/mbart-large-cc25",
        "mmlu": "huggyllama/llama-7b",
    },
    "hub",
    {"epochs": 3.0, "batch_size": 32, "max_length": 128, "warmup": 0.06},
    {
        "wmt16": {"beams": 5, "label_smoothing": 0.2},
        "mmlu": {"batch_size": 128, "max_length": 512, "warmup": 0.03},
    },
)

PRESETS: Mapping[str, Preset] = {p.name: p for p in (_QUICK, _SMALL, _PAPER)}


def get_preset(name: str) -> Preset:
    """The preset called `name`. Raises UserError with the nearest name for an unknown one."""
    if name not in PRESETS:
        raise build_unknown_error("preset", name, PRESETS)
    return PRESETS[name]
