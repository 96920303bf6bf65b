"""Learning-rate schedules, one per file. The factors are those of transformers' schedules of the same names."""
