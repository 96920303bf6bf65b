"""Methods that end or stop the process that trains them, as plugin files."""

from __future__ import annotations

KILLING = '''
import os, signal

from harness.contracts import METHODS
from methods.lora import Lora


@METHODS.register("killing")
class Killing(Lora):
    """Ends the process that trains it, as the kernel does when memory runs out."""

    name = "killing"

    def attach(self, model, members, calibration):
        os.kill(os.getpid(), signal.SIGKILL)

    def pack_key(self):
        return None
'''
HANGING = '''
import time

from harness.contracts import METHODS
from methods.lora import Lora


@METHODS.register("hanging")
class Hanging(Lora):
    """Never begins to train."""

    name = "hanging"

    def attach(self, model, members, calibration):
        time.sleep(3600)

    def pack_key(self):
        return None
'''
LOCAL = '''
import dataclasses

from harness.contracts import METHODS
from methods.lowrank import LowRank


def declare(name, factor):
    @METHODS.register(name)
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Scaled(LowRank):
        """LoRA with another scale."""

        summary = "LoRA with another scale"

        @property
        def scale(self):
            return factor * self.alpha / self.rank

    Scaled.name = name


for name, factor in (("half", 0.5), ("double", 2.0)):
    declare(name, factor)
'''
UNSENDABLE = '''
from harness.contracts import SUITES
from suites.glue import Glue


@SUITES.register("own")
class Own(Glue):
    """GLUE with a function that cannot be pickled."""

    name = "own"

    def load(self, task, request):
        self.clean = lambda text: text
        return super().load(task, request)
'''
CHANGING = '''
import os, signal
from pathlib import Path

from harness.contracts import strategy


@strategy("changing")
def changing(sites, ratio, rng):
    """The user edits the file while it trains, and the worker has to start again."""
    Path(__file__).write_text(Path(__file__).read_text() + "# edited\\n")
    os.kill(os.getpid(), signal.SIGKILL)
'''
EDITING = '''
import dataclasses
from pathlib import Path

from harness.contracts import METHODS
from methods.lowrank import LowRank

FACTOR = 2.0


@METHODS.register("scaled")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Scaled(LowRank):
    """LoRA with another scale; the user edits it as soon as the run has loaded it."""

    name = "scaled"
    summary = "LoRA with another scale"

    @property
    def scale(self):
        return FACTOR * self.alpha / self.rank


if "received" not in __file__:  # not the copy that a node has received
    Path(__file__).write_text(Path(__file__).read_text().replace("FACTOR = 2.0", "FACTOR = 0.5"))
'''
FAILING_IN_WORKERS = '''
import sys

from harness.contracts import METHODS
from methods.lora import Lora


def refuse():
    raise RuntimeError("no second one of me")


@METHODS.register("unreadable")
class Unreadable(Lora):
    """Cannot be built again from its pickle."""

    name = "unreadable"

    def __reduce__(self):
        return refuse, ()

    def pack_key(self):
        return None


@METHODS.register("exiting")
class Exiting(Lora):
    name = "exiting"

    def attach(self, model, members, calibration):
        sys.exit("enough of this")

    def pack_key(self):
        return None
'''
