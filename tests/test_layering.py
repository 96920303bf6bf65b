"""A folder imports only from lower ones, nothing is circular, and torch is not loaded before it is needed.

All of it follows from the folders: a new file is held to its folder's rules, and a new folder has to be placed here.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("harness", "methods", "suites", "results", "reports", "studies")
LEVELS = {
    "harness/core": 1,
    "harness/models": 2,
    "harness/replicas": 2,
    "harness/data": 3,
    "harness/planning": 4,
    "harness/training": 5,
    "harness/profiling": 6,
    "harness/runner": 7,
    "harness/bench": 8,
    "harness/cli": 9,
}
"""Folders of one level do not know each other."""
ALLOWED = {
    "methods": {"harness/core", "harness/replicas"},
    "suites/metrics": {"harness/core"},
    "suites": {"harness/core", "harness/data", "suites/metrics"},
    # A report weights the examples of the metrics that the suites score by: one form of each metric in one place.
    "reports": {"harness/core", "suites/metrics"},
    "results": {"harness/core", "harness/runner", "reports"},
    "studies": {
        "harness/core",
        "harness/models",
        "harness/planning",
        "harness/runner",
        "methods",
        "reports",
        "results",
    },
    "harness/cli": {"reports", "results", "studies"},
}
"""What a top-level package, or the one folder that joins them, may import beside what LEVELS allow."""
WITHOUT_TORCH = (
    "suites/metrics",
    "harness/core",
    "harness/planning",
    "harness/runner",
    "harness/cli",
    "reports",
    "results",
    "studies",
)
"""Folders whose import loads no torch; functions in them may."""
LOADS_MODELS = {"harness.planning.preflight"}
"""The exceptions: this one fits methods to models, and runs import it when they get there."""
FILES = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_of(path: Path) -> str:
    return name_of(path).removesuffix(".py").replace("/", ".").removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


def folder_of(module: str) -> str:
    """'harness/training' for a module of harness, suites/metrics for one of metrics, else its top-level package."""
    parts = module.split(".")
    if parts[:2] == ["suites", "metrics"]:
        return "suites/metrics"
    inside = parts[0] == "harness" and (len(parts) > 2 or (ROOT / "harness" / parts[-1]).is_dir())
    return "/".join(parts[:2]) if inside and len(parts) > 1 else parts[0]


def imports(path: Path) -> Iterator[str]:
    """Our modules that a file imports, in functions too, but not what only a type checker reads."""
    tree = ast.parse(path.read_text())
    hidden: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            hidden |= {ast.dump(inner) for inner in ast.walk(node) if isinstance(inner, ast.ImportFrom | ast.Import)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module and ast.dump(node) not in hidden:
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from ([m for m in inside if m in MODULES] or [m for m in [node.module] if m in MODULES])


def test_every_folder_has_a_level() -> None:
    folders = {f"harness/{p.name}" for p in (ROOT / "harness").iterdir() if p.is_dir() and list(p.glob("*.py"))}
    assert folders == set(LEVELS)
    flat = {p.name for p in (ROOT / "harness").glob("*.py")}
    assert flat == {"__init__.py", "__main__.py", "contracts.py"}, "a module of harness belongs into one of its folders"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_down(path: Path) -> None:
    here = folder_of(module_of(path))
    if here == "harness":  # the package itself and __main__ start a process
        return
    others = set(map(folder_of, imports(path))) - {here}
    if not here.startswith("harness/"):
        others -= {"harness"}  # harness.contracts
    for other in sorted(others):
        lower = here in LEVELS and other in LEVELS and LEVELS[other] < LEVELS[here]
        assert lower or other in ALLOWED.get(here, set()), f"{name_of(path)} imports {other}"


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = {module: set(imports(path)) - {module} for module, path in MODULES.items()}
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join((*above, module))
        if module not in done:
            for other in sorted(graph[module]):
                visit(other, (*above, module))
            done.add(module)

    for module in graph:
        visit(module, ())
    assert done == set(graph)


def test_torch_is_loaded_late() -> None:
    modules = [m for m in MODULES if folder_of(m) in WITHOUT_TORCH and m not in LOADS_MODELS]
    load = "importlib.import_module(m); assert 'torch' not in sys.modules, m"
    code = f"import importlib, sys\nfor m in sys.argv[1:]: {load}"
    done = subprocess.run([sys.executable, "-c", code, *modules], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and len(modules) > 100, done.stderr[-300:]


def test_the_longest_test_files_are_there() -> None:
    from tests.conftest import LONGEST, TESTS

    assert LONGEST and all((TESTS / name).is_file() for name in LONGEST)
