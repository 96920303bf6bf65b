"""The tables and pages of `methods`, `strategies` and `suites`, as rows and lines of text.

listing.py gives the facts as plain data; this file lays them out:

    list_*  -> build_*_table   rows [head, one per item] and a caption
    show_*  -> format_*_page   lines of one item's page
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.cli.listing import SHARES, format_percents

Rows = list[tuple[str, ...]]
NOTE = (
    "In % of LoRA of rank 16, head excluded: trainable parameters, gradients and optimizer state, saved activations, "
    "FLOPs; "
)


def build_method_table(methods: Sequence[dict[str, Any]]) -> tuple[Rows, str]:
    """The head and one row per method, and a caption that says what the percentages measure."""
    rows: Rows = [("method", "paper", *SHARES, "packs", "quantize", "what it is")]
    for item in methods:
        packs = "alone" if not item["family"] else "yes"
        quantize = ",".join(item["quantize"]) if item["unfit_types"] else "any" if item["quantize"] else "no"
        rows.append((item["name"], item["paper"] or "", *format_percents(item), packs, quantize, item["summary"]))
    return rows, NOTE + methods[0]["measured_on"]


def build_strategy_table(strategies: Sequence[dict[str, Any]]) -> tuple[Rows, str]:
    """The head and one row per strategy, and a caption that says what the percentages measure."""
    rows: Rows = [("strategy", "paper", *SHARES, "exact in", "what it selects")]
    rows += [(i["name"], i["paper"] or "", *format_percents(i), i["scope"], i["summary"]) for i in strategies]
    return rows, NOTE + strategies[0]["measured_on"]


def build_suite_table(suites: Sequence[dict[str, Any]]) -> tuple[Rows, str]:
    """The head and one row per suite and list of metrics, and a caption with the suites' summaries."""
    rows: Rows = [("suite", "tasks", "metrics")]
    for suite in suites:
        tasks_by_metrics: dict[str, list[str]] = {}
        for task, metrics in suite["tasks"].items():
            tasks_by_metrics.setdefault(", ".join(metrics), []).append(task)
        rows += [(suite["name"], ", ".join(tasks), metrics) for metrics, tasks in tasks_by_metrics.items()]
    return rows, "; ".join(f"{s['name']}: {s['summary']}" for s in suites)


def format_suite_page(facts: dict[str, Any]) -> list[str]:
    """All that is known of one suite."""
    lines = [f"{facts['name']}: {facts['summary']}", facts["about"], "", "options (--option NAME=VALUE)"]
    for name, o in facts["options"].items():
        allowed = f": {o['allowed']}" if o["allowed"] else ""
        lines.append(f"  {name.replace('_', '-')}={_format_default(o['default'])} ({o['type']}{allowed})")
        lines.append(f"      {o['meaning']}")
    lines += [] if facts["options"] else ["  none"]
    lines += ["", "model and settings by preset"]
    for preset, fields in facts["presets"].items():
        settings = "".join(f", {k}={v}" for k, v in fields["protocol"].items())
        lines.append(f"  {preset}: {fields['model'] or 'none; give --model'}{settings}")
    lines += [] if facts["presets"] else ["  none; give --model"]
    lines += ["", "tasks" if facts["tasks"] else "tasks: those of the files that are given"]
    return [*lines, *(f"  {task}: {', '.join(metrics)}" for task, metrics in facts["tasks"].items())]


def format_method_page(facts: dict[str, Any]) -> list[str]:
    """The lines of one method's page: options, learning rates, packs, quantization and costs."""
    lines = [f"{facts['name']}: {facts['summary']}{_format_paper(facts)}", facts["about"], "", "options"]
    for name, o in facts["options"].items():
        allowed = "|".join(o["allowed"]) if isinstance(o["allowed"], list) else o["allowed"]
        lines.append(f"  {name}={_format_default(o['default'])} ({o['type']}{': ' if allowed else ''}{allowed})")
        lines += [f"      {o['meaning']}"] if o["meaning"] else []
    lines += [] if facts["options"] else ["  none"]
    lines += ["", "options of every method, in place of the flags: " + ", ".join(facts["common_options"])]
    lines += ["", "learning rate by preset"]
    lines += [f"  {preset}: {rate['value']:g} ({rate['source']})" for preset, rate in facts["learning_rates"].items()]
    # `tunable` may hold "lr" too: a method's own range replaces the default one
    search_ranges = {"lr": "a factor of 30 below and above the default"} | {
        k: f"{v['low']:g} to {v['high']:g}" for k, v in facts["tunable"].items()
    }
    lines.append(f"  --tune N searches {'; '.join(f'{k}: {v}' for k, v in search_ranges.items())}")
    options = ",".join(f"{k}={_format_default(v)}" for k, v in facts["paper_options"].items())
    lines += [f"  --protocol paper: 2e-05 (arXiv 2403.08822){'; sets ' + options if options else ''}", ""]
    lines.append("packs with: " + (", ".join(facts["packs_with"]) or "nothing, it trains alone"))
    lines.append("quantize: " + (", ".join(facts["quantize"]) or "no, it trains the backbone itself"))
    lines += [f"  not on {name}: {why}" for name, why in facts["unfit_types"].items()]
    return [*lines, *_format_costs(facts), *(_format_savings(facts["strategy"]) if "strategy" in facts else [])]


def format_strategy_page(facts: dict[str, Any]) -> list[str]:
    """The lines of one strategy's page: how to run it, scope, initialization and costs."""
    start = "A" if facts["zero"] == "a" else "B"
    lines = [f"{facts['name']}: {facts['summary']}{_format_paper(facts)}", f"run it as: lorasp-{facts['name']}"]
    lines.append(f"the ratio is exact in each {facts['scope']}; {start} starts at zero")
    lines += [f"scores the entries before training: {facts['scores']}"] if facts["scores"] else []
    lines += [f"reads before training: {', '.join(facts['requests'])}"] if facts["requests"] else []
    return [*lines, *_format_costs(facts), *_format_savings(facts)]


def _format_costs(facts: dict[str, Any]) -> list[str]:
    shares = facts["of_lora_r16"]
    if not shares:
        return ["cost: not measured"]
    return [
        f"in % of LoRA of rank 16, {facts['measured_on']}:",
        *(f"  {quantity}: {100 * v:.1f} %" for quantity, v in shares.items()),
    ]


def _format_savings(facts: dict[str, Any]) -> list[str]:
    return [f"always saves, against LoRA of the same rank: {', '.join(facts['saves'])}", f"  {facts['why']}"]


def _format_paper(facts: dict[str, Any]) -> str:
    return f" ({facts['paper']})" if facts["paper"] else ""


def _format_default(value: Any) -> str:
    return ("+".join(value) or "none") if isinstance(value, tuple) else "none" if value is None else str(value)
