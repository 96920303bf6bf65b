"""One file per addition: preset, executor and quantization type as plugins, a protocol field in core/protocol.py.

Strategies, methods, suites and tables: tests/test_extending.py. Schedules: tests/harness/planning/test_schedule.py.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.cli.main import main
from harness.core.presets import get_preset
from harness.core.spec import MACHINE_FIELDS
from harness.core.spec_reading import make_spec
from harness.core.store import Store
from harness.models.load import load_model
from harness.models.source import resolve
from harness.planning.plan import make_plan
from tests.harness.sittings import assert_same_bits
from tests.harness.test_plugins import SMALL, registered, write

ROOT = Path(__file__).parents[2]

PRESET = """
from harness.contracts import Preset, SuitePreset, register_preset

register_preset(
    Preset(
        "own",
        "a preset with a learning rate of its own",
        "embedded",
        {"lr": 0.25, "batch_size": 4, "max_length": 16},
        {"glue": SuitePreset("embedded:encoder", {"weight_decay": 0.125}, "its own note")},
    )
)
"""
EXECUTOR = '''
"""Each pack in a process of its own, which reads the job and writes the outcome as a file."""

import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

from harness.contracts import EXECUTORS, LocalExecutor

CHILD = """
import harness, pickle, sys, types
import torch
from collections import deque
from pathlib import Path
from harness.contracts import LocalExecutor, load_all
load_all()
torch.set_num_threads(1)
silent = types.SimpleNamespace(on_pack_start=lambda *a: None, step=lambda *a: None, note=lambda *a: None)
unused = types.SimpleNamespace(write=lambda checkpoint: None)
path = Path(sys.argv[1])
setup, job = pickle.loads(path.read_bytes())
(outcome,) = LocalExecutor(setup).run(deque([job]), unused, silent)
path.write_bytes(pickle.dumps(outcome))
"""


@EXECUTORS.register("spool")
class Spool(LocalExecutor):
    def run(self, jobs, checkpoints, listener):
        while jobs:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "job"
                path.write_bytes(pickle.dumps((self.setup, jobs.popleft())))
                subprocess.run([sys.executable, "-c", CHILD, str(path)], check=True)
                outcome = pickle.loads(path.read_bytes())
            listener.note("trained elsewhere")
            yield outcome
'''
QUANTIZATION = '''
import dataclasses

from harness.contracts import Simulated, register_quantization


@dataclasses.dataclass(frozen=True, kw_only=True)
class Signs(Simulated):
    """The mean size of each row, with the sign of each weight."""

    def round_weight(self, weight):
        return weight.sign() * weight.abs().mean(1, keepdim=True)


register_quantization(Signs(name="sign", summary="one bit, simulated"))
'''


def test_a_preset_is_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = write(tmp_path / "own.py", PRESET)
    words = ["run", "--plugin", str(plugin), "--preset", "own", "--methods", "lora", *SMALL]
    with registered():
        assert main([*words, "--out", str(tmp_path / "out")]) == 0
        assert "its own note" in capsys.readouterr().err
    (record,) = Store(tmp_path / "out").read()[0].values()
    assert record.cell.preset == "own" and record.cell.model.name == "embedded:encoder"
    values = record.cell.protocol.model_dump()
    expected = {"lr": 0.25, "batch_size": 4, "max_length": 16, "weight_decay": 0.125, "max_steps": 2}
    assert values | expected == values
    assert main([*words[:1], *words[3:], "--out", str(tmp_path / "without")]) == 2  # gone with the plugin
    assert capsys.readouterr().err.startswith("error: unknown preset 'own'")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"own",', '"quick",', "preset 'quick' is already registered; choose another name"),
        ('note")},', 'note")},\n        learning_rates_of="qiuck",', "unknown preset 'qiuck': did you mean 'quick'?"),
        ('"lr": 0.25, ', "", "method 'lora' declares no learning rate for preset 'own'; give --lr"),
    ],
)
def test_a_preset_that_cannot_work_is_one_line(
    old: str, new: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = write(tmp_path / "own.py", PRESET.replace(old, new))
    with registered():
        assert main(["plan", "--plugin", str(plugin), "--preset", "own", "--methods", "lora", "--tasks", "rte"]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


@pytest.mark.slow
def test_an_executor_is_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = write(tmp_path / "spool.py", EXECUTOR)
    words = ["--methods", "lora,lorasp", *SMALL, "--threads", "1"]
    with registered():
        spooled = ["--plugin", str(plugin), "--executor", "spool", "--out", str(tmp_path / "spool")]
        assert main(["run", *words, *spooled]) == 0
        assert "trained elsewhere" in capsys.readouterr().err
    assert main(["run", *words, "--out", str(tmp_path / "local")]) == 0
    plan = make_plan(make_spec({"tasks": ("rte",), "seeds": "1", "max_steps": 2, "eval_rows": 20}))
    assert {c.key for c in plan.cells} == set(Store(tmp_path / "spool").read()[0]) and len(plan.cells) == 2
    assert_same_bits(tmp_path / "local", tmp_path / "spool", plan)


def test_an_unknown_executor_is_refused_and_none_is_in_a_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["plan"], ["run", "--out", str(tmp_path)]):
        assert main([*command, "--tasks", "rte", "--executor", "locale"]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: unknown executor 'locale': did you mean 'local'? allowed: local")
        assert said.count("\n") == 1
    assert "executor" in MACHINE_FIELDS
    assert make_spec({"executor": "ray"}).folder == make_spec({}).folder


def test_a_quantization_type_is_one_file(tmp_path: Path) -> None:
    plugin = write(tmp_path / "sign.py", QUANTIZATION)
    with registered():
        words = ["run", "--plugin", str(plugin), "--quantize", "sign", "--methods", "lora", *SMALL]
        assert main([*words, "--out", str(tmp_path / "out")]) == 0
        source = resolve(get_preset("quick"), "glue", None)
        plain, signs = (dict(load_model(source, 2, quantize=q).named_parameters()) for q in ("none", "sign"))
    (record,) = Store(tmp_path / "out").read()[0].values()
    assert record.status == "ok" and record.cell.quantize == "sign" and record.cell.is_simulated
    (name,) = [n for n in plain if n.endswith("layer.0.attention.self.query.weight")]
    weight = plain[name].detach().numpy()
    expected = np.sign(weight) * np.abs(weight).mean(1, keepdims=True)
    np.testing.assert_allclose(signs[name].detach().numpy(), expected, rtol=1e-6)
    assert torch.equal(plain["bert.embeddings.word_embeddings.weight"], signs["bert.embeddings.word_embeddings.weight"])


FIELD = '    sharpness: float = _field("{group}", default=1.0, gt=0, description="a field of a test")\n'
BEFORE = "    train_rows: int | None = _field(\n"


def run_in(folder: Path, *words: str) -> str:
    """The stdout of a command line of the package in a folder."""
    environment = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "LORASP_HARNESS_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "harness", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("group", "packs"), [("objective", [1, 2, 2]), pytest.param("optimizer", [3, 3, 3], marks=pytest.mark.slow)]
)
def test_a_protocol_field_is_one_edited_file(group: str, packs: list[int], tmp_path: Path) -> None:
    """Cells with another value have a pack of their own where the forward pass depends on the field."""
    for package in ("harness", "methods", "suites", "reports", "results", "studies"):
        ignored = shutil.ignore_patterns("__pycache__", "reference", "runs")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    source = tmp_path / "harness" / "core" / "protocol.py"
    text = source.read_text()
    assert text.count(BEFORE) == 1
    source.write_text(text.replace(BEFORE, FIELD.format(group=group) + BEFORE))
    words = [*SMALL, "--methods", "lora,lorasp,lora:sharpness=2.5"]
    answer = json.loads(run_in(tmp_path, "run", *words, "--out", "out", "--json"))
    assert (answer["cells"], answer["ok"]) == (3, 3)
    records: list[dict[str, Any]] = [json.loads(path.read_text()) for path in tmp_path.glob("out/cells/*.json")]
    assert sorted(record["pack"]["size"] for record in records) == packs
    keys = {path.stem for path in tmp_path.glob("out/cells/*.json")}
    # the keys that this package gives, which does not have the field
    plain = make_plan(make_spec({"tasks": ("rte",), "seeds": "1", "max_steps": 2, "eval_rows": 20})).cells
    assert len(keys) == 3 and {planned.key for planned in plain} < keys


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ('{"epochs": "many"}', "epochs='many'"),
        ('{"epochz": 1.0}', "epochz=1.0"),
        ('{"epochs": float("nan")}', "epochs=nan"),
    ],
)
def test_a_preset_with_a_wrong_field_is_one_line(
    field: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = f"""
from harness.contracts import Preset, SuitePreset, register_preset

models = {{"glue": SuitePreset("embedded:encoder")}}
register_preset(Preset("odd", "a wrong field", "embedded", {field}, models, learning_rates_of="quick"))
"""
    plugin = write(tmp_path / "odd.py", source)
    words = ["plan", "--plugin", str(plugin), "--preset", "odd", "--methods", "lora", "--tasks", "rte"]
    with registered():
        assert main(words) == 2
    error = capsys.readouterr().err
    assert "preset 'odd'" in error and says in error and error.count("\n") == 1


def test_a_preset_with_an_unknown_source_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = """
from harness.contracts import Preset, register_preset

register_preset(Preset("odd", "a wrong source", "disk", {}))
"""
    with registered():
        assert main(["plan", "--plugin", str(write(tmp_path / "odd.py", source)), "--preset", "odd"]) == 2
    error = capsys.readouterr().err
    assert "source='disk': allowed: embedded, hub" in error and error.count("\n") == 1
