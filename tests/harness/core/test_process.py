"""How a process starts: waiting threads, the names of our packages, and the CPUs that may be used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch

from harness.core import process
from harness.core.errors import UserError
from harness.core.process import PACKAGES, ROOT, build_child_environment, count_cpus, read_cpu_quota
from harness.core.registry import load_all

OURS = [name for name in PACKAGES if name != "harness"]


def variables(**more: str) -> dict[str, str]:
    """The environment of a user who chose nothing about OpenMP."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "KMP_"))}
    return kept | {"PYTHONPATH": str(ROOT)} | more


def python(code: str, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, env=env or variables())
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# ---------------------------------------------------------------- OpenMP's threads


LIBRARY = next((Path(torch.__file__).parent / "lib").glob("libgomp*"), None)
SETTINGS = "import os, ctypes; os.environ['OMP_DISPLAY_ENV'] = 'true'; import {}; ctypes.CDLL({!r})"
"""OpenMP prints its settings as it is loaded: with torch, or else by itself."""


@pytest.mark.skipif(LIBRARY is None, reason="torch has GNU's OpenMP on Linux")
@pytest.mark.parametrize("first", ["results", "methods.lora", "suites.glue", "tests.conftest"])
def test_threads_wait_passively_whatever_of_ours_is_imported_first(first: str) -> None:
    code = SETTINGS.format(first, str(LIBRARY))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=variables())
    assert done.returncode == 0, done.stderr
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr


@pytest.mark.parametrize(("name", "value"), [("OMP_WAIT_POLICY", "ACTIVE"), ("GOMP_SPINCOUNT", "7")])
def test_what_the_user_chose_about_waiting_stays(name: str, value: str, tmp_path: Path) -> None:
    code = "import os, results; print(os.environ.get('OMP_WAIT_POLICY'), os.environ.get('GOMP_SPINCOUNT'))"
    found = python(code, tmp_path, variables(**{name: value})).split()
    assert found == [value, "None"] if name == "OMP_WAIT_POLICY" else found == ["None", value]


def test_torch_before_the_harness_is_noticed(tmp_path: Path) -> None:
    first = "import sys, types; sys.modules[{!r}] = types.ModuleType('')"
    code = first + "; import harness.core.process as p; print(p.has_spinning_threads())"
    assert python(code.format("torch"), tmp_path) == "True"
    assert python(code.format("other"), tmp_path) == "False"
    assert python(code.format("torch"), tmp_path, variables(OMP_WAIT_POLICY="passive")) == "False"


# ---------------------------------------------------------------- names in the working directory


def as_folders(name: str) -> None:
    Path(name).mkdir()
    Path(name, "notes.txt").touch()


def as_files(name: str) -> None:
    Path(f"{name}.py").write_text("raise SystemExit('a file of the user was imported')\n")


def as_packages(name: str) -> None:
    Path(name).mkdir()
    Path(name, "__init__.py").write_text("raise SystemExit('a package of the user was imported')\n")


FORMS = [as_folders, as_files, as_packages]
EDITABLE = f"""
import sys
from importlib.machinery import PathFinder
root = {str(ROOT)!r}
sys.path[:] = ["", *(p for p in sys.path if p not in ("", root))]
class Editable:  # as setuptools installs a project of several packages in editable mode: after the path
    def find_spec(name, path=None, target=None):
        return PathFinder.find_spec(name, [root]) if path is None and name in {PACKAGES!r} else None
sys.meta_path.append(Editable)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("words", ["methods", "report --help"])
def test_our_names_in_the_working_directory_do_no_harm(form: object, words: str, folder: Path) -> None:
    for name in OURS:
        form(name)  # type: ignore[operator]
    command = [sys.executable, "-m", "harness", *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, env=variables())
    assert done.returncode == 0, done.stderr
    assert "lorasp" in done.stdout or "--formats" in done.stdout


@pytest.mark.parametrize("form", FORMS)
def test_nor_where_the_harness_is_found_after_the_path(form: object, folder: Path) -> None:
    for name in OURS:
        form(name)  # type: ignore[operator]
    code = f"{EDITABLE}\nimport harness, importlib\nfor n in {OURS!r}: print(importlib.import_module(n).__file__)"
    found = python(code, folder, {k: v for k, v in variables().items() if k != "PYTHONPATH"})
    assert found.splitlines() == [str(ROOT / name / "__init__.py") for name in OURS]


def test_a_folder_named_harness_loses_to_ours(folder: Path) -> None:
    as_folders("harness")
    done = subprocess.run([sys.executable, "-m", "harness", "--help"], capture_output=True, text=True, env=variables())
    assert done.returncode == 0 and "plan" in done.stdout


RUN = (
    "run --tasks rte --methods lora --seeds 1 --max-steps 2 --train-rows 16 --eval-rows 8 --max-length 16 --threads 1"
    " --plugin methods.py --formats csv,md --out out"
)


@pytest.mark.slow
def test_a_run_with_its_profiles_among_all_of_our_names(folder: Path) -> None:
    """As the console script starts it: the working directory is not on the path, but on that of a plain subprocess."""
    for name in PACKAGES:
        as_packages(name)
    Path("methods.py").write_text("from harness.core.method import METHODS\n")
    code = f"import sys; sys.path[:1] = [{str(ROOT)!r}]; from harness.__main__ import main; main()"
    words = [sys.executable, "-c", code, *RUN.split()]
    done = subprocess.run(words, capture_output=True, text=True, env=variables(OMP_NUM_THREADS="1"))
    assert done.returncode == 0, done.stderr
    (profile,) = Path("out/profiles").glob("*.json")
    assert json.loads(profile.read_text())["status"] == "ok"
    assert "|" in Path("out/report/report.md").read_text()


@pytest.mark.parametrize("form", FORMS)
def test_python_processes_that_we_start_import_us(form: object, folder: Path) -> None:
    form("harness")  # type: ignore[operator]
    code = "import harness; print(harness.__file__)"
    env = {k: v for k, v in variables().items() if k != "PYTHONPATH"} | build_child_environment()
    assert python(code, folder, env) == str(ROOT / "harness" / "__init__.py")


def test_a_module_of_that_name_imported_before_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = type(sys)("reports")
    module.__file__ = str(tmp_path / "reports.py")
    monkeypatch.setitem(sys.modules, "reports", module)
    with pytest.raises(UserError, match=r"reports\.py"):
        load_all()


# ---------------------------------------------------------------- CPUs


def tree(root: Path, group: str, files: Mapping[str, str]) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(f"{group}\n")
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


QUOTA = {"quota": "50000", "period": "100000"}


@pytest.mark.parametrize(
    ("group", "files", "quota"),
    [
        ("0::/", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/", {"cpu.max": "max 100000"}, None),
        ("0::/a/b", {"a/b/cpu.max": "400000 100000", "a/cpu.max": "100000 50000"}, 2.0),
        ("0::/of/the/host", {"cpu.max": "300000 100000"}, 3.0),
        ("4:cpu,cpuacct:/", {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 0.5),
        ("4:cpu,cpuacct:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("4:cpu,cpuacct:/a", {f"cpu,cpuacct/a/cpu.cfs_{name}_us": n for name, n in QUOTA.items()}, 0.5),
        ("4:cpu,cpuacct:/a", {f"cpu/cpu.cfs_{name}_us": n for name, n in QUOTA.items()}, 0.5),
        ("5:memory:/", {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, None),
    ],
)
def test_the_quota_of_a_container(
    group: str, files: Mapping[str, str], quota: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(tmp_path, group, files)
    assert read_cpu_quota(root) == quota
    monkeypatch.setattr(process.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert count_cpus(root) == {None: 8, 0.5: 1, 1.5: 2, 2.0: 2, 3.0: 3}[quota]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_threads_are_as_many_as_the_affinity_allows(tmp_path: Path) -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); import harness.core.device as e; "
    assert python(code + "print(e.choose_threads(None))", tmp_path) == "1"
