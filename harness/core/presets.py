"""The three presets: which model, which data and which budget a plain command gets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from harness.core.errors import build_unknown_error
from harness.core.method import SUITES, SuitePreset
from harness.core.registry import load_package

EMBEDDED = "embedded:"
"""Leads the names of models that ship with the package."""
MINILM = "all-MiniLM-L6-v2"


@dataclasses.dataclass(frozen=True)
class Preset:
    """`source` of rows where no --data-dir is given; `protocol` fields of Protocol.

    A suite declares its model and what else differs for it (`Suite.presets`). `suites` has the same by suite, for a
    preset that suites do not know.
    """

    name: str
    summary: str
    source: Literal["embedded", "hub"]
    protocol: Mapping[str, Any]
    suites: Mapping[str, SuitePreset] = dataclasses.field(default_factory=dict)

    def get_suite_preset(self, suite: str) -> SuitePreset:
        """What a suite takes from this preset; without a model where the suite declares none, or is unknown."""
        if suite not in SUITES:
            load_package("suites")  # ours register when imported
        declared = SUITES.get(suite).presets if suite in SUITES else {}
        return self.suites.get(suite) or declared.get(self.name) or SuitePreset()


_QUICK = Preset(
    "quick",
    "tiny encoder and generated data, both shipped: offline, about a minute; no evidence on real data",
    "embedded",
    {"epochs": 10.0, "max_steps": 150, "batch_size": 16, "max_length": 32, "warmup": 0.08},
)
_SMALL = Preset(
    "small",
    "all-MiniLM-L6-v2 (22M parameters) on real data: a laptop or one GPU",
    "hub",
    {"epochs": 3.0, "batch_size": 32, "max_length": 128, "warmup": 0.06},
)
_PAPER = Preset(
    "paper",
    "roberta-base on real data: the paper's tables",
    "hub",
    {"epochs": 3.0, "batch_size": 32, "max_length": 128, "warmup": 0.06},
)

PRESETS: Mapping[str, Preset] = {p.name: p for p in (_QUICK, _SMALL, _PAPER)}


def get_preset(name: str) -> Preset:
    """The preset called `name`. Raises UserError with the nearest name."""
    if name not in PRESETS:
        raise build_unknown_error("preset", name, PRESETS)
    return PRESETS[name]
