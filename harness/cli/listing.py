"""Facts about registered methods, strategies and suites as plain data, for the commands that list them.

This module imports no torch, so that the lists appear at once.
"""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from harness.core.bounds import describe_bounds
from harness.core.cell import SHORT_NAMES
from harness.core.method import METHODS, STRATEGIES, SUITES, Method, Strategy, Suite
from harness.core.quantization import QUANTIZATIONS
from harness.planning.grammar import OVERRIDE_TYPES, resolve_short_name
from harness.profiling.footprint import MEASURED_ON, compute_shares

SHARES = {
    "trainable": "trained parameters",
    "optimizer": "optimizer state",
    "activations": "activations",
    "FLOPs": "compute",
}
"""Column of the tables -> the measured quantity in it."""


def list_methods() -> list[dict[str, Any]]:
    """The facts of every method, sorted by name."""
    return [_describe_method(name, kind) for name, kind in METHODS]


def show_method(name: str) -> dict[str, Any]:
    """The facts of one method. Raises UserError for an unknown name.

    `name` may be a short name (`qlora`, `lorasp-row`); its options then have the values that the name stands for.
    """
    method, short_options = resolve_short_name(name)
    facts = _describe_method(method, METHODS.get(method)) | {"name": name}
    for option, value in short_options.items():
        if option in facts["options"]:
            facts["options"][option]["default"] = value
    if name in SHORT_NAMES:
        facts["summary"] += f"; stands for {method}:" + ",".join(f"{k}={v}" for k, v in short_options.items())
    # the costs of lorasp depend on its strategy, so they replace those of the method
    chosen = facts["options"].get("select", {}).get("default")
    if chosen:
        facts["strategy"] = _describe_strategy(chosen, STRATEGIES.get(chosen))
        facts["of_lora_r16"] = compute_shares(f"lorasp-{chosen}")
    return facts


def list_strategies() -> list[dict[str, Any]]:
    """The facts of every selection strategy, sorted by name."""
    return [_describe_strategy(name, strategy) for name, strategy in STRATEGIES]


def show_strategy(name: str) -> dict[str, Any]:
    """The facts of one strategy. Raises UserError for an unknown name."""
    return _describe_strategy(name, STRATEGIES.get(name))


def list_suites() -> list[dict[str, Any]]:
    """Every suite, in the order of names."""
    return [_describe_suite(name, kind) for name, kind in SUITES]


def show_suite(name: str) -> dict[str, Any]:
    """One suite. Raises UserError."""
    return _describe_suite(name, SUITES.get(name))


def _describe_suite(name: str, kind: type[Suite]) -> dict[str, Any]:
    """Name, summary, tasks with their metrics, named averages, options, and what it takes from each preset."""
    return {
        "name": name,
        "summary": kind.summary,
        "about": " ".join((kind.__doc__ or "").split()),
        "version": kind.version,
        "source": SUITES.sources.get(name),
        "tasks": {t.name: list(t.metrics) for t in kind.tasks.values()},
        "averages": {a.name: sorted(a.scores) for a in kind.averages},
        "options": {option.name: option.describe() for option in kind.options},
        "presets": {preset: dataclasses.asdict(fields) for preset, fields in kind.presets.items()},
    }


def list_quantization_types(kind: type[Method]) -> list[str]:
    """Quantization types that a method trains on."""
    unfit = {"none", *list_unfit_types(kind)}
    return [name for name in QUANTIZATIONS.names() if kind.quantizable and name not in unfit]


def list_unfit_types(kind: type[Method]) -> dict[str, str]:
    """Quantization types whose weights a method cannot train on, with the reason."""
    classes = {name: quantization.weight_class for name, quantization in QUANTIZATIONS}
    return {name: kind.unfit_weights[c] for name, c in classes.items() if c in kind.unfit_weights}


def _describe_method(name: str, kind: type[Method]) -> dict[str, Any]:
    return {
        "name": name,
        "summary": kind.summary,
        "about": " ".join((kind.__doc__ or "").split()),
        "paper": kind.paper,
        "version": kind.version,
        "source": METHODS.sources.get(name),
        "options": _describe_options(kind),
        "common_options": list(OVERRIDE_TYPES),
        "learning_rates": {k: dataclasses.asdict(v) for k, v in kind.learning_rates.items()},
        "tunable": {k: dataclasses.asdict(v) for k, v in kind.tunable.items()},
        "paper_options": dict(kind.paper_options),
        "family": kind.family,
        "packs_with": sorted(n for n, other in METHODS if kind.family and other.family == kind.family),
        "quantize": list_quantization_types(kind),
        "unfit_types": list_unfit_types(kind),
        "of_lora_r16": compute_shares(name),
        "measured_on": MEASURED_ON,
    }


def _describe_options(kind: type[Method]) -> dict[str, dict[str, Any]]:
    hints = typing.get_type_hints(kind)
    options: dict[str, dict[str, Any]] = {}
    # a field's annotation is text under `from __future__ import annotations`; get_type_hints resolves it
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        literal = typing.get_origin(hint) is typing.Literal
        allowed: Any = list(typing.get_args(hint)) if literal else field.metadata.get("allowed", "")
        if callable(allowed):
            allowed = allowed()
        allowed = allowed or describe_bounds(kind, field.name)
        type_name = (
            "choice" if literal else "list" if typing.get_origin(hint) is tuple else getattr(hint, "__name__", "")
        )
        meaning = field.metadata.get("meaning", "")
        options[field.name] = {"type": type_name, "default": field.default, "allowed": allowed, "meaning": meaning}
    return options


def _describe_strategy(name: str, strategy: Strategy) -> dict[str, Any]:
    return {
        "name": name,
        "summary": strategy.summary,
        "paper": strategy.paper,
        "version": strategy.version,
        "source": STRATEGIES.sources.get(name),
        "scope": strategy.scope,
        "scores": strategy.scores,
        "requests": list(strategy.requests),
        "zero": strategy.zero,
        "twins": strategy.twins,
        "saves": list(strategy.saves),
        "why": strategy.why,
        "of_lora_r16": compute_shares(f"lorasp-{name}"),
        "measured_on": MEASURED_ON,
    }


def format_percents(facts: dict[str, Any]) -> list[str]:
    """The measured costs of a method or strategy, in % of LoRA of rank 16: one table cell per column of `SHARES`."""
    measured_shares = facts["of_lora_r16"]
    return [
        f"{100 * measured_shares[quantity]:.1f} %" if quantity in measured_shares else "not measured"
        for quantity in SHARES.values()
    ]
