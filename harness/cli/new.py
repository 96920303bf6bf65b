"""`new strategy NAME`, `new method NAME`: writes a working plugin file and its test.

FOLDER/my_name.py         the plugin: STRATEGY or METHOD below, names filled in
FOLDER/test_my_name.py    its test: TESTS[kind], then RUN
"""

from __future__ import annotations

import keyword
import os
import re
import string
from pathlib import Path

from harness.core.errors import UserError, shorten
from harness.core.method import METHODS, STRATEGIES
from harness.core.registry import MAX_NAME_LENGTH

STRATEGY = '''\
"""The strategy $name: run it with --plugin $file.py --methods lorasp:select=$name."""

import numpy as np

from harness.core.method import strategy


@strategy("$name")
def $word(sites, ratio, rng):
    """Random entries: the entries with the highest numbers train."""
    return {s.name: tuple(rng.random(shape) for shape in s.shapes) for s in sites}
'''

METHOD = '''\
"""The method $name: run it with --plugin $file.py --methods $name."""

import dataclasses

from harness.core.method import METHODS
from methods.lowrank import LowRank


@METHODS.register("$name")
@dataclasses.dataclass(frozen=True, kw_only=True)
class $class_name(LowRank):
    """LoRA with half of its scale."""

    name = "$name"
    summary = "LoRA with half of its scale"

    @property
    def scale(self):
        return self.alpha / self.rank / 2
'''

RUN = """

def test_it_trains(tmp_path):
    words = "--tasks rte --seeds 1 --max-steps 2 --eval-rows 20 --no-profile".split()
    assert main(["run", "--plugin", str(FILE), "--methods", "$run", *words, "--out", str(tmp_path)]) == 0
"""

TESTS = {
    "strategy": '''\
"""Does $name train exactly the requested share?"""

from pathlib import Path

from harness.cli.main import main
from harness.core.method import STRATEGIES, Site
from harness.core.registry import load_all
from harness.core.seeds import Streams, equal
from methods.masks import build_masks

FILE = Path(__file__).with_name("$file.py")


def test_exactly_the_share_trains():
    load_all([FILE])
    sites = [Site("query", 9, 7, 3, 0)]
    masks = build_masks(STRATEGIES.get("$name"), sites, 0.25, "matrix", Streams(equal(0)), None)
    assert [int(mask.sum()) for mask in masks["query"]] == [round(27 / 4), round(21 / 4)]
''',
    "method": '''\
"""Does $name train?"""

from pathlib import Path

from harness.cli.main import main

FILE = Path(__file__).with_name("$file.py")
''',
}


def write_new(kind: str, name: str, folder: Path) -> tuple[Path, Path]:
    """The paths of the plugin and its test, which this writes.

    Raises UserError for a name that is invalid or registered, a file that exists, or a folder that cannot be written.
    """
    if kind not in ("strategy", "method"):
        raise UserError(f"new {shorten(kind)}: allowed: new strategy NAME, new method NAME")
    word = name.replace("-", "_")
    # the name becomes a module, a function and a part of cell labels: it must be valid in all three
    fits = len(name) <= MAX_NAME_LENGTH and re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name)
    if not fits or keyword.iskeyword(word):
        raise UserError(
            f"new {kind} {shorten(name)}: allowed: small letters, digits and single dashes, {MAX_NAME_LENGTH} at most,"
            f" e.g. my-{kind}"
        )
    if name in (STRATEGIES if kind == "strategy" else METHODS):
        raise UserError(f"{kind} '{name}' is already registered; choose another name")
    plugin, test = folder / f"{word}.py", folder / f"test_{word}.py"
    for path in (plugin, test):
        if os.path.exists(path):
            raise UserError(f"'{path}' already exists; choose another name, or another folder with --out DIR")
    class_name = "".join(part.capitalize() for part in name.split("-"))
    run = f"lorasp:select={name}" if kind == "strategy" else name
    words = {"name": name, "word": word, "file": word, "class_name": class_name, "run": run}
    body = STRATEGY if kind == "strategy" else METHOD
    # string.Template, because the bodies are Python code full of braces
    try:
        folder.mkdir(parents=True, exist_ok=True)
        plugin.write_text(string.Template(body).substitute(words))
        test.write_text(string.Template(TESTS[kind] + RUN).substitute(words))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--out {shorten(folder)}: {reason}; give a folder that can be written") from error
    return plugin, test
