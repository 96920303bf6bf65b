"""`python -m harness`."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the command line."""
    from harness.cli import main as run_cli

    sys.exit(run_cli())


if __name__ == "__main__":
    main()
