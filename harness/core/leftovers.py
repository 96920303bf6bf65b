"""Removal of temporary files that a killed process left: `.NAME.xxxxxxxx` beside NAME.

OUT/.run.json.q1w2e3r4               written under the run's lock: the next holder of the lock removes it
OUT/cells/.KEY.parquet.q1w2e3r4      "
OUT/adapters/.KEY.q1w2e3r4/          "
OUT/report/.report.html.q1w2e3r4     written by any command, perhaps right now: removed after `OLD` seconds
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from pathlib import Path

OLD = 3600.0
"""Seconds after which no process is still writing a temporary file."""
GUARDED = ("cells", "profiles", "pack-sizes", "checkpoints", "adapters", "bases")
"""Folders of a run that only the holder of its lock writes."""
OPEN = ("report", "report/figures", "index")
"""Folders that commands without the lock may write."""
GUARDED_FILES = ("run.json", "tuned.json")
"""Files of a run that only the holder of its lock writes."""
NAME = re.compile(r"\.(?P<of>.+)\.[a-z0-9_]{8}")
KEY = re.compile(r"[0-9a-f]{16}")
"""Name of a folder in adapters/ or bases/: a hash."""
# only files that look like ours: a hidden file of the user must survive
RUN_ENDINGS = (".json", ".parquet", ".pt", ".safetensors", ".segment", "clock")
ENDINGS = (*RUN_ENDINGS, ".html", ".md", ".tex", ".csv", ".png", ".svg", ".pdf")


def remove_run_leftovers(out: Path) -> None:
    """Remove the leftovers in a run's folder. The caller must hold the run's lock.

    A leftover that cannot be removed stays, for nothing reads it.
    """
    for path in list_run_leftovers(out):
        _remove(path)


def list_run_leftovers(out: Path) -> list[Path]:
    """The leftovers in a run's folder; without its lock, a file that a run writes right now is among them."""
    leftovers = [path for name in GUARDED for path in list_leftovers(out / name)]
    leftovers += [path for name in OPEN for path in list_leftovers(out / name, age=OLD)]
    return [*leftovers, *list_leftovers(out, age=OLD, at_once=GUARDED_FILES)]


def remove_leftovers(folder: Path, age: float = 0.0, at_once: tuple[str, ...] = ()) -> None:
    """Remove the leftovers of a folder that are at least `age` seconds old, and those of files in `at_once`."""
    for path in list_leftovers(folder, age, at_once):
        _remove(path)


def _remove(path: Path) -> None:
    # another process may remove the same leftover first
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def list_leftovers(folder: Path, age: float = 0.0, at_once: tuple[str, ...] = ()) -> list[Path]:
    """The leftovers of a folder that are at least `age` seconds old, and those of files in `at_once`."""
    latest = time.time() - age
    leftovers = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in list(entries):
            match = NAME.fullmatch(entry.name)
            if match is None:
                continue
            with contextlib.suppress(OSError):
                if match["of"] not in at_once and age and entry.stat(follow_symlinks=False).st_mtime > latest:
                    continue
                is_ours = (
                    KEY.fullmatch(match["of"]) if entry.is_dir(follow_symlinks=False) else match["of"].endswith(ENDINGS)
                )
                if is_ours:
                    leftovers.append(Path(entry.path))
    return leftovers
