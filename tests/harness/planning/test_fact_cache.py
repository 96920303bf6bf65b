"""What was found of a model before is read, never for another model, method or length, and torch stays out of it."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.core.errors import UserError
from harness.core.process import build_child_environment
from harness.core.spec_reading import make_spec
from harness.planning import fact_cache, preflight
from harness.planning.fact_cache import fact_key, read_fact, write_fact
from harness.planning.plan import Plan, make_plan
from harness.profiling.capacity import Capacity, read_dimensions
from harness.runner.forecast import forecast_run

HEAVY = ("torch", "transformers", "peft", "pandas", "scipy")
CODE = (
    "import json, sys; from harness.cli.main import main; "
    f"code = main(['plan', *sys.argv[1:]]); print(json.dumps([code, [m for m in {HEAVY!r} if m in sys.modules]]))"
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LORASP_HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def planned(folder: Path, *words: str) -> tuple[list[str], list[str]]:
    """Lines of a plan in a process of its own, less the free memory, and the heavy packages that it imported.

    It runs in `folder`, where no stored profiles calibrate the time: that fit would import scipy.
    """
    command = [sys.executable, "-c", CODE, "--device", "cpu", "--memory", "1GiB", *words]
    env = os.environ | build_child_environment()
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder, env=env)
    *lines, last = done.stdout.splitlines()
    code, imported = json.loads(last)
    assert code == 0
    return lines, imported


@pytest.mark.slow
def test_a_plan_made_before_imports_no_torch_and_says_the_same(cache: Path) -> None:
    words = ("--tasks", "rte,stsb", "--methods", "lora,lorasp", "--seeds", "2")
    first, imported = planned(cache.parent, *words)
    assert "torch" in imported and "transformers" in imported
    assert planned(cache.parent, *words) == (first, [])
    more, imported = planned(cache.parent, *words[:-1], "40")  # more cells of the same kinds
    assert imported == [] and any("160 cells" in line for line in more)


def plan_of(methods: str, **fields: object) -> Plan:
    return make_plan(make_spec({"tasks": ("rte",), "methods": methods, "seeds": "1", "device": "cpu", **fields}))


def test_what_fitted_is_not_looked_at_again_and_another_length_or_method_is(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of("lora")
    expected = preflight.drop_unfit_cells(plan, plan.cells)
    assert preflight.drop_unfit_cells(plan, plan.cells, cache=True) == expected
    looked = []

    def shapes(source: object, task: object, real: object = preflight._build_skeleton) -> object:
        looked.append(source)
        return real(source, task)  # type: ignore[operator]

    monkeypatch.setattr(preflight, "_build_skeleton", shapes)
    assert preflight.drop_unfit_cells(plan, plan.cells, cache=True) == expected and looked == []
    preflight.drop_unfit_cells(plan, plan.cells)
    assert len(looked) == 1  # a run always looks
    for count, other in enumerate((plan_of("lora:rank=3"), plan_of("lora", max_length=16)), 2):
        preflight.drop_unfit_cells(other, other.cells, cache=True)
        assert len(looked) == count


def test_what_does_not_fit_is_refused_in_the_same_words_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = plan_of("lora,lora:rank=65")
    # as ones of a product, which are left out with a line
    unnamed = dataclasses.replace(named, cells=tuple(dataclasses.replace(c, named=False) for c in named.cells))
    expected = preflight.drop_unfit_cells(unnamed, unnamed.cells)
    with pytest.raises(UserError, match="rank=65: ") as plain:
        preflight.drop_unfit_cells(named, named.cells)
    assert preflight.drop_unfit_cells(unnamed, unnamed.cells, cache=True) == expected
    assert len(expected.cells) == 1 and any("rank=65" in line for line in expected.dropped)
    monkeypatch.setattr(preflight, "_build_skeleton", lambda *_: pytest.fail("looked again"))
    assert preflight.drop_unfit_cells(unnamed, unnamed.cells, cache=True) == expected
    with pytest.raises(UserError) as again:
        preflight.drop_unfit_cells(named, named.cells, cache=True)
    assert str(again.value) == str(plain.value)


def test_the_dimensions_of_a_model_are_those_of_its_configuration(cache: Path) -> None:
    plan = plan_of("lora")
    capacity = Capacity("cpu", 2**30)
    step = capacity.step(plan.cells[0])
    expected = read_dimensions(step)
    again = Capacity("cpu", 2**30).dimensions(step)
    assert capacity.dimensions(step) == expected == again and isinstance(again, tuple)
    other = dataclasses.replace(step.source, ref=step.source.ref.model_copy(update={"revision": "another"}))
    key = fact_key("dimensions", {"model": [other.ref.content, step.task.outputs, None]})
    assert read_fact(key) is None


def test_a_damaged_fact_is_absent_and_other_code_has_other_facts(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = fact_key("kind", {"a": 1})
    assert read_fact(key) is None and write_fact(key, [1, 2]) and read_fact(key) == [1, 2]
    (path,) = cache.rglob("*.json")
    path.write_bytes(path.read_bytes().replace(b"1, 2", b"1, 3"))
    assert read_fact(key) is None
    keys = {key, fact_key("kind", {"a": 2}), fact_key("other", {"a": 1})}
    monkeypatch.setattr(fact_cache, "source_digest", lambda: "other code")
    keys.add(fact_key("kind", {"a": 1}))
    monkeypatch.setattr(fact_cache, "list_versions", lambda: {"torch": "1.0"})
    keys.add(fact_key("kind", {"a": 1}))
    assert len(keys) == 5


def test_a_plan_without_the_cache_writes_none(cache: Path) -> None:
    forecast_run(
        make_spec({"tasks": ("rte",), "methods": "lora", "seeds": "1", "device": "cpu", "cache": False}), "1GiB"
    )
    assert not list(cache.rglob("*.json"))


def test_the_source_of_every_package_is_in_the_key() -> None:
    files = [path for package in fact_cache.PACKAGES for path in (fact_cache.ROOT / package).rglob("*.py")]
    assert Path(fact_cache.__file__) in files and len(files) > 100
