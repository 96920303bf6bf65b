"""The way of a run, from the command line to stored records.

Each way in (the command line, `results`, tests, subprocesses) imports this package first, so what must be settled
before other packages are imported is settled here.
"""

from harness.core.process import install_package_finder, wait_passively
from harness.core.version import read_version

__version__ = read_version()

install_package_finder()
wait_passively()
