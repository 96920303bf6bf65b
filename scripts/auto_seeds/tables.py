"""Print tables of simulated studies with `--seeds auto`: errors, coverage and cells, with collapsed runs and without.

    python -m scripts.auto_seeds.tables --studies 20000

Takes about 5 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from harness.core.looks import TOLERATED_COLLAPSES, Looks
from scripts.auto_seeds.studies import (
    ALPHA,
    BETTER,
    DROP,
    EQUIVALENT,
    MARGIN,
    SD,
    UNDECIDED,
    WORSE,
    Outcome,
    Scenario,
    Studies,
    draw_dips,
    draw_heavy,
    draw_lognormal,
    draw_shared,
    draw_skewed,
    draw_studies,
    run_auto,
    run_fixed,
)


def count_false(outcome: Outcome, scenario: Scenario) -> tuple[float, float, float]:
    """Shares of false claims: of a difference as it is stated, of equivalence, and of either for the mean of all runs.

    A difference is claimed for runs that do not collapse, or for all runs once one has collapsed; equivalence for runs
    that do not collapse, and that fewer than `TOLERATED_COLLAPSES` of the seeds of both methods do.
    """
    better, worse = outcome.decisions == BETTER, outcome.decisions == WORSE
    claimed = np.where(outcome.saw_collapse, scenario.mean, scenario.stable)
    difference = (better & (claimed <= 0)) | (worse & (claimed >= 0))
    is_apart = abs(scenario.stable) >= MARGIN or max(scenario.rates) >= TOLERATED_COLLAPSES
    equal = (outcome.decisions == EQUIVALENT) & is_apart
    of_all = (better & (scenario.mean <= 0)) | (worse & (scenario.mean >= 0))
    of_all |= (outcome.decisions == EQUIVALENT) & (abs(scenario.mean) >= MARGIN)
    return float(difference.mean()), float(equal.mean()), float(of_all.mean())


SCENARIOS = (
    Scenario("no difference", 0.0),
    Scenario("no difference, sd 2", 0.0, sd=2.0),
    Scenario("no difference, heavy tails", 0.0, noise=draw_heavy),
    Scenario("no difference, skewed", 0.0, noise=draw_skewed),
    Scenario("no difference, skewed, sd 5", 0.0, sd=5.0, noise=draw_skewed),
    Scenario("no difference, log-normal", 0.0, noise=draw_lognormal),
    Scenario("no difference, 1 in 10 dips by 5", 0.0, noise=draw_dips),
    Scenario("at the margin, skewed", 1.0, noise=draw_skewed),
    Scenario("at the margin, skewed the other way", -1.0, noise=draw_skewed),
    Scenario("at the margin", 1.0),
    Scenario("at the margin, sd 2", 1.0, sd=2.0),
    Scenario("at the margin, sd 5", 1.0, sd=5.0),
    Scenario("half of the margin", 0.5),
    *(Scenario(f"{rate:.0%} of one collapse", 0.0, rates=(rate, 0.0)) for rate in (0.02, 0.05, 0.1, 0.2)),
    *(Scenario(f"{rate:.0%} of both collapse", 0.0, rates=(rate, rate)) for rate in (0.05, 0.1, 0.2)),
    *(Scenario(f"at the margin, {rate:.0%} of one collapse", 1.0, rates=(rate, 0.0)) for rate in (0.05, 0.2)),
    *(
        Scenario(f"{rate:.0%} of one collapse, which is made up for", DROP * rate, rates=(rate, 0.0))
        for rate in (0.05, 0.1, 0.2)
    ),
)


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def tabulate_errors(studies: int, seed: int) -> str:
    """Decisions, false claims, seeds and coverage of each scenario, in percent of the studies."""
    head = ["scenario", "stable", "all", "better", "worse", "equivalent", "undecided", "false difference"]
    head += ["false equivalence", "wrong for all runs", "mean seeds", "interval covers", "at all looks", "rate covers"]
    rows = []
    looks = Looks()
    for number, scenario in enumerate(SCENARIOS):
        drawn = draw_studies(scenario, studies, looks.most, np.random.default_rng([seed, number]))
        outcome = run_auto(drawn, looks, scenario.stable)
        shares = [np.mean(outcome.decisions == d) for d in (BETTER, WORSE, EQUIVALENT, UNDECIDED)]
        covers = np.mean((outcome.low <= scenario.stable) & (scenario.stable <= outcome.high))
        percent = [*shares, *count_false(outcome, scenario)]
        tail = [covers, np.mean(outcome.always), np.mean(outcome.bounds >= scenario.rates[0])]
        rows.append(
            [scenario.name, f"{scenario.stable:+.1f}", f"{scenario.mean:+.1f}"]
            + [f"{100 * share:.1f}" for share in percent]
            + [f"{outcome.seeds.mean():.1f}"]
            + [f"{100 * share:.1f}" for share in tail]
        )
    return format_table(head, rows)


def tabulate_fixed(studies: int, seed: int) -> str:
    """False claims of a fixed number of seeds that ignores unseen collapses, and with the guard."""
    rows = []
    for number, scenario in enumerate(SCENARIOS):
        drawn = draw_studies(scenario, studies, 60, np.random.default_rng([seed, number]))
        row = [scenario.name]
        for count, guard in ((5, False), (10, False), (10, True), (59, True)):
            decisions = run_fixed(drawn, count, guard=guard)
            values = drawn.differences[..., :count]
            half = stdtrit(count - 1, 0.975) * values.std(axis=-1, ddof=1) / np.sqrt(count)
            covers = np.mean(np.abs(values.mean(axis=-1) - scenario.mean) <= half)
            equal = np.mean(decisions == EQUIVALENT) if abs(scenario.mean) >= MARGIN else 0.0
            row.append(f"{100 * equal:.1f} / {100 * covers:.0f}")
        rows.append(row)
    return format_table(["scenario", "5 seeds", "10 seeds", "10 seeds, guard", "59 seeds, guard"], rows)


def find_fixed_seeds(studies: Studies, share: float) -> int:
    """The smallest fixed number of seeds with which as many comparisons are decided, by bisection."""
    low, high = 2, int(studies.differences.shape[-1])
    while high - low > 1:
        middle = (low + high) // 2
        if np.mean(run_fixed(studies, middle, guard=True) != UNDECIDED) >= share:
            high = middle
        else:
            low = middle
    return high


def tabulate_savings(studies: int, seed: int) -> str:
    """Cells of automatic and fixed numbers of seeds that decide the same share of the comparisons.

    The fixed number is the same for all methods of a study, and is the smallest that decides as many.
    """
    cases: list[tuple[tuple[float, ...], str]]
    cases = [((ratio,), f"1 method, difference {ratio:g} sd") for ratio in (0.0, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)]
    cases += [
        ((0.5, 1.0, 1.5, 2.0), "4 methods, differences 0.5, 1, 1.5, 2 sd"),
        ((1.0, 1.0, 1.0, 1.0), "4 methods, differences 1 sd each"),
        ((0.0, 0.5, 1.0, 2.0), "4 methods, differences 0, 0.5, 1, 2 sd"),
        ((0.0, 0.0, 0.0, 0.0), "4 methods, no difference"),
    ]
    rows = []
    for number, (ratios, name) in enumerate(cases):
        stable = np.array(ratios) * SD
        drawn = draw_shared(stable, np.zeros(len(stable)), studies, 200, np.random.default_rng([seed, 1000 + number]))
        outcome = run_auto(drawn, Looks())
        share = float(np.mean(outcome.decisions != UNDECIDED))
        # one study in 10,000 would set the fixed number otherwise
        fixed = find_fixed_seeds(drawn, min(0.999, share))
        # the baseline trains as long as any comparison is open
        cells = float((outcome.seeds.sum(axis=1) + outcome.seeds.max(axis=1)).mean())
        fixed_cells = fixed * (len(stable) + 1)
        saving = f"{100 * (1 - cells / fixed_cells):.0f}"
        rows.append([name, f"{100 * share:.1f}", f"{cells:.0f}", f"{fixed_cells} ({fixed} seeds)", saving])
    return format_table(["study", "decided, %", "cells", "cells of a fixed number", "fewer cells, %"], rows)


def tabulate_families(studies: int, seed: int) -> str:
    """Studies of four methods with any false claim, in percent: Holm's correction under repeated looks."""
    cases = [
        ("4 methods, no difference", (0.0,) * 4, (0.0,) * 4),
        ("4 methods, 3 of them differ by 2 sd", (0.0, 1.0, 1.0, 1.0), (0.0,) * 4),
        ("4 methods at the margin", (1.0,) * 4, (0.0,) * 4),
        ("4 methods, 5 % of each collapse", (0.0,) * 4, (0.05,) * 4),
        ("4 methods, 10 % of each collapse", (0.0,) * 4, (0.1,) * 4),
    ]
    rows = []
    for number, (name, stable, rates) in enumerate(cases):
        drawn = draw_shared(stable, rates, studies, Looks().most, np.random.default_rng([seed, 2000 + number]))
        outcome = run_auto(drawn, Looks())
        mean, is_null = np.array(stable) - DROP * np.array(rates), np.array(stable) == 0
        truth = np.where(outcome.saw_collapse, mean, np.array(stable))
        wrong = ((outcome.decisions == BETTER) & (truth <= 0)) | ((outcome.decisions == WORSE) & (truth >= 0))
        equal = (outcome.decisions == EQUIVALENT) & (np.maximum(np.abs(mean), np.abs(stable)) >= MARGIN)
        row = [name, f"{100 * wrong[:, is_null].any(axis=1).mean():.1f}" if is_null.any() else "-"]
        rows.append([*row, f"{100 * equal.any(axis=1).mean():.1f}", f"{outcome.seeds.mean():.1f}"])
    return format_table(["study", "any false difference", "any false equivalence", "mean seeds"], rows)


def tabulate_distribution_free(studies: int, seed: int) -> str:
    """Half-widths of an empirical-Bernstein confidence sequence for the mean difference of scores of 0 to 100.

    Theorem 2 of Waudby-Smith and Ramdas (2024, doi:10.1093/jrsssb/qkad009), with their plug-in bets.
    """
    rows, counts = [], (10, 59, 100, 300, 1000)
    for name, scenario in (
        ("no collapse", SCENARIOS[0]),
        ("5 % of one collapse", Scenario("", 0.0, rates=(0.05, 0.0))),
    ):
        drawn = draw_studies(scenario, min(studies, 2000), 1000, np.random.default_rng([seed, 3000]))
        values = (drawn.differences[:, 0] + 100) / 200
        numbers = np.arange(1, values.shape[1] + 1)
        means = (0.5 + np.cumsum(values, axis=1)) / (numbers + 1)
        before = np.concatenate([np.full((len(values), 1), 0.5), means[:, :-1]], axis=1)
        variances = (0.25 + np.cumsum((values - means) ** 2, axis=1)) / (numbers + 1)
        earlier = np.concatenate([np.full((len(values), 1), 0.25), variances[:, :-1]], axis=1)
        bets = np.minimum(np.sqrt(2 * np.log(2 / ALPHA) / (earlier * numbers * np.log(numbers + 1))), 0.5)
        losses = 4 * (values - before) ** 2 * (-np.log(1 - bets) - bets) / 4
        widths = 200 * (np.log(2 / ALPHA) + np.cumsum(losses, axis=1)) / np.cumsum(bets, axis=1)
        centres = np.cumsum(bets * values, axis=1) / np.cumsum(bets, axis=1) * 200 - 100
        covers = np.all(np.abs(centres - scenario.mean) <= widths, axis=1).mean()
        rows.append([name, *(f"{widths[:, n - 1].mean():.1f}" for n in counts), f"{100 * covers:.1f}"])
    return format_table(["scenario", *(f"{n} seeds" for n in counts), "covers at all looks, %"], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=20_000, help="studies per row; default: 20000")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random numbers; default: 0")
    given = parser.parse_args(arguments)
    tables = {
        f"Decisions of auto:5..100 at a margin of 1 point, % of {given.studies:,} studies": tabulate_errors,
        "Fixed numbers of seeds: false 'equivalent within 1', % / 95 % t-interval covers the mean, %": tabulate_fixed,
        "Cells for as many decisions": tabulate_savings,
        "Several comparisons, % of studies": tabulate_families,
        "Half-width in points of a distribution-free confidence sequence": tabulate_distribution_free,
    }
    for title, tabulate in tables.items():
        print(f"{title}\n\n{tabulate(given.studies, given.seed)}\n", flush=True)


if __name__ == "__main__":
    main()
