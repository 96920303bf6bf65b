"""`python -m harness`."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Entry point of the command line."""
    from harness.core.interrupt import catch_signals

    with catch_signals() as signals:  # from here on: what the command line imports takes a while
        try:
            from harness.cli.main import main as run_cli

            code = run_cli()
        except BaseException:
            if signals.number is None:
                raise
            code = signals.exit_code
    # the collections at exit would look for cycles among all that is left: 6 s for 100,000 records
    gc.freeze()
    # Python ends itself by SIGINT if the last code that it ran from a text, as dataclasses do, was interrupted
    exec("")
    sys.exit(code)


if __name__ == "__main__":
    main()
