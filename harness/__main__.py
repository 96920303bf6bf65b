"""`python -m harness`."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the command line."""
    from harness.interrupt import catch_signals

    with catch_signals() as signals:  # from here on: what the command line imports takes a while
        try:
            from harness.cli import main as run_cli

            code = run_cli()
        except BaseException:
            if signals.number is None:
                raise
            code = signals.exit_code
    # Python ends itself by SIGINT if the last code that it ran from a text, as dataclasses do, was interrupted
    exec("")
    sys.exit(code)


if __name__ == "__main__":
    main()
