"""What a method says of quantization types is what training on one does."""

from __future__ import annotations

import pytest

from harness.cli.listing import list_unfit_types
from harness.core.method import METHODS
from harness.core.presets import get_preset
from harness.models.load import load_model
from harness.models.source import resolve
from tests.harness.small_training import protocol, rows, trainer

pytest.importorskip("bitsandbytes")
QUANTIZABLE = [name for name, kind in METHODS if kind.quantizable]
ALONE = [name for name in QUANTIZABLE if METHODS.get(name).family is None]


def fits(name: str, quantize: str) -> bool:
    """Whether two steps on the embedded encoder with this type can be taken."""
    model = load_model(resolve(get_preset("quick"), "glue", None), 2, quantize=quantize)
    try:
        made, _ = trainer(model, [METHODS.get(name)()], [protocol(max_steps=2)], [0], rows())
        return all(bool(made.train_step(step).isfinite().all()) for step in range(2))
    except (AttributeError, RuntimeError, TypeError, ValueError, NotImplementedError):
        return False


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("quantize", ["int8", "nf4"])
def test_methods_from_peft_fit_where_they_say(name: str, quantize: str) -> None:
    assert fits(name, quantize) == (quantize not in list_unfit_types(METHODS.get(name)))


@pytest.mark.slow
@pytest.mark.parametrize("name", QUANTIZABLE)
@pytest.mark.parametrize("quantize", ["int8", "fp4", "nf4", "nf4-dq"])
def test_every_method_fits_where_it_says(name: str, quantize: str) -> None:
    assert fits(name, quantize) == (quantize not in list_unfit_types(METHODS.get(name)))
