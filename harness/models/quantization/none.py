"""No quantization: weights in the backbone's precision."""

from __future__ import annotations

from harness.core.quantization import Quantization, register_quantization

register_quantization(Quantization(name="none", summary="weights in floating point, in the precision of --dtype"))
