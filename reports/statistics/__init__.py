"""Statistics of few runs, paired by seed: estimates, tests and verdicts over records. Start at `analysis.analyse`."""
