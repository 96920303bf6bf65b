"""Write the forgetting text of the embedded causal model: each fact of its world once, as a statement.

Run `python -m scripts.embedded.mmlu.forgetting_text`; it writes suites/forgetting/facts.txt. Fine-tuning trains on
instructions, never on these statements.
"""

from __future__ import annotations

import random
from pathlib import Path

from scripts.embedded.mmlu.corpus import draw_statement
from scripts.embedded.mmlu.world import build_facts

PATH = Path("suites/forgetting/facts.txt")
STATEMENTS = 300
SEED = 0


def build_text() -> str:
    """One statement a line, in a fixed random order."""
    rng = random.Random(SEED)
    facts = list(build_facts())
    chosen = rng.sample(facts, min(STATEMENTS, len(facts)))
    return "".join(f"{' '.join(draw_statement(rng, fact)[0])}\n" for fact in chosen)


if __name__ == "__main__":
    PATH.write_text(build_text())
