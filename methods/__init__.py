"""Fine-tuning methods, one per module."""

import harness  # noqa: F401  before torch, because it sets how OpenMP threads wait
