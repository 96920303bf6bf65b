"""Presets: which model, which data and which budget a plain command gets; three of ours, and those of plugins."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args

from harness.core.errors import UserError
from harness.core.method import SUITES, SuitePreset
from harness.core.registry import Registry, load_package

EMBEDDED = "embedded:"
"""Leads the names of models that ship with the package."""
MINILM = "all-MiniLM-L6-v2"
E5 = "multilingual-e5-small"
Source = Literal["embedded", "hub"]
"""Where rows come from if no --data-dir is given."""


@dataclasses.dataclass(frozen=True)
class Preset:
    """`source` of rows where no --data-dir is given; `protocol` fields of Protocol.

    A suite declares its model and what else differs for it (`Suite.presets`), and a method its learning rate
    (`Method.learning_rates`). For a preset that they do not know, `suites` has the same by suite, and
    `learning_rates_of` names a preset whose learning rates hold here too; otherwise `protocol` has "lr".
    """

    name: str
    summary: str
    source: Source
    protocol: Mapping[str, Any]
    suites: Mapping[str, SuitePreset] = dataclasses.field(default_factory=dict)
    learning_rates_of: str = ""

    def get_suite_preset(self, suite: str) -> SuitePreset:
        """What a suite takes from this preset; without a model where the suite declares none, or is unknown."""
        if suite not in SUITES:
            load_package("suites")  # ours register when imported
        declared = SUITES.get(suite).presets if suite in SUITES else {}
        return self.suites.get(suite) or declared.get(self.name) or SuitePreset()


PRESETS: Registry[Preset] = Registry("preset")


def register_preset(preset: Preset) -> None:
    """Make a preset available as `--preset NAME`.

    Raises UserError if the name is registered, for learning rates of an unknown preset, and for an unknown source.
    """
    if preset.source not in get_args(Source):
        allowed = ", ".join(get_args(Source))
        raise UserError(f"preset '{preset.name}': source={preset.source!r}: allowed: {allowed}")
    if preset.learning_rates_of:
        PRESETS.get(preset.learning_rates_of)
    PRESETS.register(preset.name)(preset)


def get_preset(name: str) -> Preset:
    """The preset called `name`. Raises UserError with the nearest name."""
    return PRESETS.get(name)


register_preset(
    Preset(
        "quick",
        "tiny encoder and generated data, both shipped: offline, about a minute; no evidence on real data",
        "embedded",
        {"epochs": 10.0, "max_steps": 150, "batch_size": 16, "max_length": 32, "warmup": 0.08},
    )
)
register_preset(
    Preset(
        "small",
        "all-MiniLM-L6-v2 (22M parameters; xnli: multilingual-e5-small) on real data: a laptop or one GPU",
        "hub",
        {"epochs": 3.0, "batch_size": 32, "max_length": 128, "warmup": 0.06},
    )
)
register_preset(
    Preset(
        "paper",
        "roberta-base on real data: the paper's tables",
        "hub",
        {"epochs": 3.0, "batch_size": 32, "max_length": 128, "warmup": 0.06},
    )
)
