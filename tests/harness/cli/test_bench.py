"""What a bench leaves on disk."""

from __future__ import annotations

import json
import resource
import signal
from pathlib import Path

import pytest

from harness.bench.table import Bench, Panel
from harness.cli.bench import print_bench
from harness.core.errors import UserError


def test_a_full_disk_costs_neither_the_samples_of_before_nor_a_traceback(tmp_path: Path) -> None:
    out, panel = tmp_path / "found.json", Panel("ms", ["lora"], {"step": [1.0]})
    out.write_text("of before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        with pytest.raises(UserError, match="cannot write"):
            print_bench(Bench("x", {}, [{"what": "lora"}], [{"steps": [1.0] * 1000}], [panel]), out)
        with pytest.raises(UserError, match=r"cannot write .*png"):
            print_bench(Bench("x", {}, [{"what": "lora"}], [], [panel]), tmp_path / "small.json")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert out.read_text() == "of before" and json.loads((tmp_path / "small.json").read_text())["bench"] == "x"
