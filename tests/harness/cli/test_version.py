"""`--version`, and the completion that a real bash gets, without torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import harness
from harness.cli.main import main

ROOT = Path(__file__).parents[3]
WITHOUT_TORCH = """#!{python}
import sys


class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "peft"):
            raise ImportError(name)


sys.meta_path.insert(0, NoTorch())
sys.path.insert(0, {root!r})
from harness.__main__ import main

main()
"""


def test_version_is_the_one_of_pyproject(capsys: pytest.CaptureFixture[str]) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert harness.__version__ == declared
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{declared}\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [("do", "doctor"), ("run --group-by-l", "--group-by-length")],
)
def test_bash_completes_without_torch(line: str, expected: str, tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash here")
    program = tmp_path / "lorasp-harness"
    program.write_text(WITHOUT_TORCH.format(python=sys.executable, root=str(ROOT)))
    program.chmod(0o755)
    words = f"lorasp-harness {line}".split()
    script = f"""
eval "$(lorasp-harness --show-completion)"
COMP_WORDS=({" ".join(words)}); COMP_CWORD={len(words) - 1}
_lorasp_harness_completion lorasp-harness
echo "${{COMPREPLY[@]}}"
"""
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([bash, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == [expected], done.stderr


def test_completion_of_a_module_call_is_for_the_program() -> None:
    """`python -m harness` is three words, for which no shell keeps a completion."""
    if shutil.which("bash") is None:
        pytest.skip("no bash here")
    code = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m harness --show-completion; exit $?"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert code.returncode == 0 and code.stdout.rstrip().endswith(" lorasp-harness")
    assert "python -m" not in code.stdout
