"""Who may import whom, and that the core imports nothing heavy."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("harness", "methods", "suites", "results", "reports", "studies")
WIRING = {
    "harness/bench/commands.py",
    "harness/verbs/running.py",
    "harness/verbs/stored.py",
    "harness/verbs/registered.py",
    "harness/verbs/studies.py",
    "harness/run.py",
    "harness/cli.py",
    "harness/__main__.py",
    "results/job.py",
    "studies/collected.py",
    "studies/runner.py",
    "studies/counting.py",
}
BUILDING = {"contracts", "registry", "errors", "groups", "seeds", "dropout"}
ALLOWED = {
    "methods": {"harness", *(f"harness.{m}" for m in BUILDING)},
    "suites": {"harness", *(f"harness.{m}" for m in BUILDING), "harness.cell", "harness.tokens"},
    "reports": {
        *("harness.record", "harness.cell", "harness.errors"),
        *("harness.files", "harness.terminal", "harness.file_names"),
    },
    "results": {"harness.record", "harness.store", "harness.errors"},
    "studies": {
        *("harness.record", "harness.errors", "harness.files"),
        *("harness.file_names", "harness.spec", "harness.contracts"),
    },
}
TORCH = set(
    "activations attention capture ceiling detail dropout dropout_kernel fake_model functional_dropout groups "
    "live_storages measure memory_process models optimizer packrun predict recompute result rival scoring simulated "
    "step step_timer subjects token_cache tokens trace train usual".split()
)
HEAVY = {"torch", "transformers", "pandas", "pyarrow", "datasets", "evaluate", "matplotlib", "scipy", "sklearn", "peft"}
HEAVY |= {"lm_eval", "statsmodels", "sacrebleu", "jinja2", "tensorboard", "optuna"}
FILES = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))


def imports(path: Path, *, top_only: bool) -> Iterator[str]:
    """Modules that a file imports; with `top_only` those of its import time (TYPE_CHECKING blocks apart)."""
    tree = ast.parse(path.read_text())
    nodes: list[ast.AST] = list(tree.body) if top_only else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_siblings(path: Path) -> None:
    package = name_of(path).split("/")[0]
    others = {m for m in imports(path, top_only=False) if m.split(".")[0] in PACKAGES and m.split(".")[0] != package}
    if name_of(path) in WIRING:
        return
    allowed = ALLOWED.get(package, set())
    if package == "studies":  # its rules read records and the statistics over them, and nothing of methods or suites
        others = {m for m in others if not m.startswith("reports.")}
    assert others <= allowed, f"{name_of(path)} imports {sorted(others - allowed)}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_heavy_at_import_in_the_core(path: Path) -> None:
    place = name_of(path)
    free = place.startswith(
        (
            "methods/layers/",
            "harness/task_types/",
            "suites/lm_evaluation/",
            "suites/metrics/evaluated",
            "suites/embedded/",
        )
    ) or (place.startswith("harness/") and path.stem in TORCH)
    heavy = {m.split(".")[0] for m in imports(path, top_only=True)} & HEAVY
    assert free or not heavy, f"{place} imports {sorted(heavy)} at import time"


def test_no_import_cycle() -> None:
    graph = {}
    for path in FILES:
        module = name_of(path).removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        graph[module] = {m for m in imports(path, top_only=True) if m.split(".")[0] in PACKAGES}
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join((*above, module))
        if module not in done:
            for other in graph.get(module, ()):
                visit(other, (*above, module))
            done.add(module)

    for module in graph:
        visit(module, ())
    assert len(done) >= len(graph) and sys.getrecursionlimit() > len(graph)


def test_the_longest_test_files_are_there() -> None:
    from tests.conftest import LONGEST, TESTS

    assert LONGEST and all((TESTS / name).is_file() for name in LONGEST)
