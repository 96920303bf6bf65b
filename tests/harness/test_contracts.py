"""What plugins import is in one place that stays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import harness.contracts
from harness.cli.main import main
from harness.core import method
from tests.harness.test_plugins import registered

ROOT = Path(__file__).parents[2]

PLUGIN = '''
import numpy as np
from harness.contracts import strategy


@strategy("last")
def last(sites, ratio, rng):
    """The last entries of each matrix."""
    return {s.name: tuple(np.arange(m * n).reshape(m, n) for m, n in s.shapes) for s in sites}
'''


def test_every_name_is_the_one_inside() -> None:
    for name in harness.contracts.__all__:
        inside = getattr(method, name, None)
        assert inside is None or getattr(harness.contracts, name) is inside, name


def test_they_import_no_torch() -> None:
    code = "import sys, harness.contracts as c; assert 'torch' not in sys.modules and set(c.__all__) <= set(vars(c))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_plugin_of_an_earlier_version_loads(tmp_path: Path) -> None:
    plugin = tmp_path / "last.py"
    plugin.write_text(PLUGIN)
    words = ["--tasks", "rte", "--seeds", "1", "--methods", "lorasp:select=last"]
    with registered():  # what the plugin registers is gone afterwards
        assert main(["plan", *words, "--plugin", str(plugin)]) == 0
