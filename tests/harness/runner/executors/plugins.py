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
