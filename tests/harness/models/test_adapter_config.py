"""adapter_config.json: each field is honoured or refused by name, and no pattern hangs."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any

import peft
import pytest

from harness.cli.main import main
from harness.core.errors import UserError
from harness.models.adapter_config import PLACES, READ, WITHOUT_EFFECT, check_patterns, check_plain, read_config
from harness.models.adapter_source import resolve_init_from
from tests.harness.models.test_adapter_source import cell, folder

PLAIN = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none", "target_modules": ["query"]}
CHANGING = {
    "use_dora": True,
    "bias": "all",
    "lora_bias": True,
    "trainable_token_indices": [3],
    "layer_replication": [[0, 1], [0, 1]],
    "target_parameters": ["experts.down_proj"],
    "alora_invocation_tokens": [1, 2],
    "use_qalora": True,
    "megatron_config": {"a": 1},
    "velora_config": {"a": 1},
    "use_bdlora": {"a": 1},
    "arrow_config": {"a": 1},
    "kasa_config": {"a": 1},
    "monteclora_config": {"a": 1},
    "ensure_weight_tying": True,
    "some_future_field": {"a": 1},
}


def test_every_field_that_peft_has_is_known() -> None:
    """A field of a newer peft has to be looked at before it may pass."""
    fields = {field.name for field in dataclasses.fields(peft.LoraConfig)}
    assert fields <= READ | PLACES | WITHOUT_EFFECT | set(CHANGING)


@pytest.mark.parametrize("field", CHANGING)
def test_a_field_that_changes_the_function_is_refused_by_name(field: str) -> None:
    check_plain(PLAIN | {field: None if field != "bias" else "none"}, "a")
    with pytest.raises(UserError, match=field):
        check_plain(PLAIN | {field: CHANGING[field]}, "a")


@pytest.mark.parametrize(
    "start", ["pissa", "pissa_niter_4", "olora", "corda", "loftq", "lora_ga", "mica", "unheard of"]
)
def test_an_initialization_that_changes_the_base_is_refused_by_name(start: str) -> None:
    with pytest.raises(UserError, match=start):
        check_plain(PLAIN | {"init_lora_weights": start}, "a")


@pytest.mark.parametrize("start", [True, False, "gaussian", "eva", "orthogonal"])
def test_an_initialization_that_leaves_the_base_alone_passes(start: Any) -> None:
    check_plain(PLAIN | {"init_lora_weights": start}, "a")


BROKEN: dict[str, tuple[Any, str]] = {
    "a list": ([PLAIN], "adapter_config.json"),
    "a number": (3, "adapter_config.json"),
    "no alpha": ({k: v for k, v in PLAIN.items() if k != "lora_alpha"}, "lora_alpha"),
    "alpha is a text": (PLAIN | {"lora_alpha": "16"}, "lora_alpha"),
    "alpha is NaN": (PLAIN | {"lora_alpha": float("nan")}, "lora_alpha"),
    "alpha is a list": (PLAIN | {"lora_alpha": [8] * 10_000}, "lora_alpha"),
    "alpha is nested": (PLAIN | {"lora_alpha": json.loads("[" * 500 + "]" * 500)}, "lora_alpha"),
    "alpha is no float": (PLAIN | {"lora_alpha": 10**400}, "lora_alpha"),
    "alpha is beyond fp32": (PLAIN | {"lora_alpha": 1e300}, "lora_alpha"),
    "alpha of a layer is no float": (PLAIN | {"alpha_pattern": {"query": 10**400}}, "alpha_pattern"),
    "rslora is a text": (PLAIN | {"use_rslora": "false"}, "use_rslora"),
    "a type of 10,000 characters": (PLAIN | {"peft_type": "x" * 10_000}, "allowed: plain LORA"),
    "rank zero": (PLAIN | {"r": 0}, "r in"),
    "rank is a truth": (PLAIN | {"r": True}, "r in"),
    "pattern of ranks": (PLAIN | {"rank_pattern": {"query": 0}}, "rank_pattern"),
    "pattern of alphas": (PLAIN | {"alpha_pattern": ["query"]}, "alpha_pattern"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_config_is_one_line_of_init_from_and_of_merge(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, says = BROKEN[name]
    adapter = folder(tmp_path / "a")
    (adapter / "adapter_config.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=says):
        resolve_init_from(str(adapter))
    assert main(["merge", str(adapter), "--model", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and len(errors[0]) < 500 and not (tmp_path / "out").exists()
    assert says in errors[0] or "type" in name  # merge takes adapters of other types


HANGS = "(a+)+b"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("alpha_pattern", {HANGS: 3}),
        ("rank_pattern", {HANGS: 4}),
        ("target_modules", HANGS),
        ("exclude_modules", HANGS),
        ("layers_pattern", [HANGS]),
    ],
)
def test_a_pattern_that_takes_for_ever_is_refused(field: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.models.adapter_config.SECONDS", 1.0)
    began = time.monotonic()
    with pytest.raises(UserError, match=field):
        check_patterns(PLAIN | {field: value}, ["a" * 60], "x")
    assert time.monotonic() - began < 300  # the patterns would take years


def test_a_pattern_that_is_no_expression_is_refused_and_others_pass() -> None:
    with pytest.raises(UserError, match="rank_pattern"):
        check_patterns(PLAIN | {"rank_pattern": {"(": 4}}, ["query"], "x")
    check_patterns(PLAIN | {"rank_pattern": {r".*layer\.0\..*query": 4}}, ["encoder.layer.0.attention.query"], "x")


def test_a_config_that_is_nested_too_deeply_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="adapter_config"):
        read_config(tmp_path, "x")


@pytest.mark.parametrize("kind", ["a pipe", "50 MB"])
def test_a_config_that_cannot_be_read_at_once_is_one_line(kind: str, tmp_path: Path) -> None:
    path = folder(tmp_path / "a") / "adapter_config.json"
    if kind == "a pipe":
        path.unlink()
        os.mkfifo(path)  # reading it would wait for a writer
    else:
        path.write_text(json.dumps(PLAIN | {"target_modules": "q" * 50_000_000}))
    began = time.monotonic()
    with pytest.raises(UserError, match="adapter_config"):
        read_config(path.parent, "x")
    assert time.monotonic() - began < 2


def test_an_unknown_field_without_a_value_is_no_reason(tmp_path: Path) -> None:
    old = {"enable_lora": None, "merge_weights": False, "modules_to_save": None}
    assert cell(init_from=str(folder(tmp_path / "a", **old))).initial is not None
