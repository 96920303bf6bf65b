"""The loss on the forgetting text before and after fine-tuning."""

from __future__ import annotations

from reports.document import LinkedText, Table
from reports.frames import Grid
from reports.registered import SuiteContext, report_table
from reports.statistics.forgetting import collect_forgetting, estimate_forgetting, list_texts


@report_table("forgetting", place=35, topic="cost")
def build(context: SuiteContext) -> Table | None:
    return build_forgetting_table(context.grid)


def build_forgetting_table(grid: Grid) -> Table | None:
    """One row per method with its losses; None where no record has them."""
    texts = list_texts(grid)
    if not texts:
        return None
    rows = []
    for method in grid.methods:
        losses = list(collect_forgetting(grid, method).values())
        name = LinkedText(method, method=method)
        if not losses:
            rows.append((name, "", "", "", "0"))
            continue
        before, after = (sum(getattr(one, field) for one in losses) / len(losses) for field in ("before", "after"))
        change = estimate_forgetting(grid, method)
        spread = "" if change is None or not change.half else f" ± {change.half:.4f}"
        text = "" if change is None else f"{change.mean:+.4f}{spread}"
        rows.append((name, f"{before:.4f}", f"{after:.4f}", text, str(len(losses))))
    first = next(r.forgetting for r in grid.records if r.forgetting)
    notes = [
        "Mean loss in nats per token; before: of the backbone without any adapter. Above 0, the model predicts the "
        "text worse than before. ± is the 95 % interval over seeds.",
        f"Text: {first.text}, {first.tokens:,} predicted tokens, {first.unknown_tokens:,} unknown to the tokenizer."
        if len(texts) == 1
        else f"The runs have {len(texts)} different texts, on which changes are not comparable: none is shown.",
    ]
    return Table("Forgetting", ("method", "loss before", "loss after", "forgetting", "seeds"), rows, notes)
