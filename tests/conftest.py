"""Registered methods and suites, and tiny models, for all tests."""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.core.registry import load_all

load_all()
TESTS = Path(__file__).parent
LONGEST = (
    "test_readme.py",
    "harness/profiling/test_predict.py",
    "reports/test_figures.py",
    "test_extending.py",
    "harness/runner/test_profiles.py",
    "methods/test_contract.py",
    "methods/test_packed.py",
    "harness/core/test_interrupt.py",
    "harness/training/test_checkpoint.py",
    "harness/profiling/test_by_blocks.py",
    "harness/core/test_failure.py",
    "harness/models/test_e5.py",
    "harness/runner/executors/test_pool.py",
    "harness/training/test_recompute.py",
    "harness/runner/test_forecast.py",
    "harness/core/test_process.py",
    "harness/runner/tuning/test_tuning.py",
    "reports/test_formats.py",
    "harness/training/test_sharpness.py",
    "methods/test_resume.py",
)
"""Files by the time they take; the rest take less."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that no worker is left alone with one when the others are done."""
    places = {TESTS / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_collection_finish() -> None:
    """Exempt what the imports created from garbage collection: it stays, and each collection would visit it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def default_signals() -> Iterator[None]:
    """A shell's background job ignores Ctrl-C, under nohup SIGHUP too, and so would each process that a test starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    hangup = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, before)
    signal.signal(signal.SIGHUP, hangup)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tokenised rows of a test run stay in its own folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LORASP_HARNESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def tiny_bert() -> Callable[..., object]:
    """Makes the same random two-layer BERT each time; `outputs`, `dropout` and dtype float64 or float32."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    def make(outputs: int = 2, dropout: float = 0.0, dtype: torch.dtype = torch.float64) -> torch.nn.Module:
        config = BertConfig(
            vocab_size=50,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=32,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=0.0,
            num_labels=outputs,
        )
        config._attn_implementation = "eager"
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = BertForSequenceClassification(config)
        return model.to(dtype).requires_grad_(False)

    return make
