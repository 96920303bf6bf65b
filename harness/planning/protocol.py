"""The protocol of a cell: how it trains, merged from preset, method, flags and options. Imports no torch."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from harness.core.errors import UserError, shorten
from harness.core.learning_rate import SCHEDULES
from harness.core.method import Method, Suite
from harness.core.optimizer import HYPERPARAMETERS, OPTIMIZERS, check_hyperparameters
from harness.core.presets import Preset
from harness.core.protocol import Protocol
from harness.core.spec import Spec

PAPER_PROTOCOL = {"lr": 2e-5, "epochs": 3.0, "max_steps": None, "lr_source": "arXiv 2403.08822"}
AXIS_FIELDS = tuple("lr epochs max_steps batch_size schedule warmup weight_decay optimizer".split())
"""Flags of the protocol that take several values: every method trains with each combination."""
SINGLE_FIELDS = tuple("group_by_length max_length momentum label_smoothing train_rows eval_rows".split())


def list_flag_choices(spec: Spec) -> list[dict[str, Any]]:
    """The values of the protocol's flags, one mapping for each combination of the axes; flags not given are absent."""
    single = {name: value for name in SINGLE_FIELDS if (value := getattr(spec, name)) is not None}
    axes = {name: values for name in AXIS_FIELDS if (values := getattr(spec, name))}
    return [single | dict(zip(axes, choice, strict=True)) for choice in itertools.product(*axes.values())]


def build_protocol(
    spec: Spec,
    chosen: Preset,
    suite: Suite,
    method: Method,
    flags: Mapping[str, Any],
    overrides: Mapping[str, Any],
) -> Protocol:
    """The protocol of a cell, merged from several sources; later ones override earlier ones.

    Order: preset, the preset's settings for the suite, the method's declared learning rate, the paper's protocol, flags
    (one of `list_flag_choices`) and suite options, options of the method (as in `lora:lr=1e-3`). Raises UserError
    without any learning rate, and for a value of a preset, suite or method that is not valid.
    """
    suite_fields = chosen.get_suite_preset(suite.name).protocol
    fields: dict[str, Any] = {"name": spec.protocol, **chosen.protocol, **suite_fields}
    declared = method.learning_rates.get(chosen.learning_rates_of or chosen.name)
    if declared is not None:
        fields |= {"lr": declared.value, "lr_source": declared.source}
    if spec.protocol == "paper":
        fields |= PAPER_PROTOCOL
    flags = {**flags, **{k: v for k, v in suite.given.items() if k in Protocol.model_fields}}
    options = {k: v for k, v in overrides.items() if k in Protocol.model_fields}
    _check_optimizer(fields, flags, options)
    # epochs given alone must not be cut by the max_steps of a preset
    for layer in (flags, options):
        if "epochs" in layer and "max_steps" not in layer:
            fields["max_steps"] = None
        fields |= layer
        if "lr" in layer:
            fields["lr_source"] = "given"
    if "lr" not in fields:
        raise UserError(f"method '{method.name}' declares no learning rate for preset '{chosen.name}'; give --lr")
    SCHEDULES.get(fields.get("schedule", "linear"))  # an unknown name is refused with the nearest one
    try:
        return Protocol.model_validate(fields)
    except ValidationError as error:
        # flags and options were checked when they were read
        wrong = error.errors()[0]
        what = f"{wrong['loc'][0] if wrong['loc'] else 'protocol'}={shorten(repr(wrong['input']))}: {wrong['msg']}"
        raise UserError(
            f"preset '{chosen.name}' with suite '{suite.name}' and method '{method.name}': {what}; one of the three"
            " declares this value"
        ) from error


def _check_optimizer(fields: Mapping[str, Any], flags: dict[str, Any], options: Mapping[str, Any]) -> None:
    """Raise UserError for an unknown optimizer, a package that it needs, or an option that has no effect on it.

    A flag that has no effect is removed from `flags`: it is for methods with another optimizer, and `make_plan` refuses
    it if there is none.
    """
    name = {**fields, **flags, **options}.get("optimizer", "adamw")
    OPTIMIZERS.get(name)().check()
    check_hyperparameters(name, options)
    for field in HYPERPARAMETERS:
        if field in flags and field not in OPTIMIZERS.get(name).reads:
            del flags[field]
