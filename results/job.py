"""The whole main job from Python or a notebook."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from harness.spec import make_spec

if TYPE_CHECKING:
    from harness.run import Outcome


def run(**fields: Any) -> Outcome:
    """Train what is missing, measure, and write the report; the fields are those of the command line.

    `results.run(suite="glue", methods="lora,lorasp", seeds=5)`; what is done is in `out` of the answer, for
    `results.load`. Raises UserError.
    """
    from harness.progress import Plain
    from harness.run import run as run_spec

    given = {name: str(v) if name == "seeds" else v for name, v in fields.items() if v is not None}
    command = f"results.run({', '.join(f'{name}={value!r}' for name, value in given.items())})"
    return run_spec(make_spec(given), command, lambda total: Plain(sys.stderr, total))
