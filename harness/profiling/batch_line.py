"""The peak of a step for any number of rows per batch, from the steps with two such numbers.

Every span of a step is a line in the number of rows. The peak is the largest span, so it is no line itself.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from harness.models.source import ModelSource
from harness.planning.fact_cache import fact_key, read_fact, write_fact
from harness.profiling.by_blocks import BlockPredictor, DeepStep, Figures
from harness.profiling.fake_step import use_fake_tensors
from harness.profiling.predict import predict_whole
from harness.profiling.prediction import Prediction, Step
from harness.profiling.prediction_cache import build_prediction_key, read_prediction, write_prediction


class BatchPredictor:
    """Predicts peaks of steps that differ in their batch size; with `cache` through the cache folder."""

    def __init__(self, *, cache: bool) -> None:
        self.cache = cache
        self._blocks = BlockPredictor()

    def predict_peaks(self, step: Step, batches: list[int]) -> dict[int, int]:
        """Bytes at the peak by batch size.

        Of more than two sizes the least and the largest are traced, and lines through their spans give the others.
        Raises what a method raises that reads tensor values.
        """
        ends = sorted({min(batches), max(batches)})
        traced = [self._trace(set_batch(step, batch)) for batch in ends]
        steps = [found for found in traced if found is not None]
        if len(steps) < len(ends) or len({len(deep.spans) for deep, _ in steps}) > 1:
            return {batch: self._predict_whole(set_batch(step, batch)).peak for batch in batches}
        shares = steps[0][1]
        peaks = {}
        for batch in batches:
            deep = steps[0][0] if len(ends) == 1 else join_batches(ends, [deep for deep, _ in steps], batch)
            peaks[batch] = deep.to_prediction(1, shares, step.device).peak
        return peaks

    def _trace(self, step: Step) -> tuple[DeepStep, dict[str, int]] | None:
        """The spans of a step and the bytes that it holds from step to step; None where its blocks are not alike."""
        content = build_prediction_key(step, 1) if self.cache else None
        key = fact_key("deep step", {"prediction": content}) if content else None
        if key and (stored := read_fact(key)) is not None:
            return _read_trace(stored)
        with use_fake_tensors():
            traced = self._blocks.trace(step)
        result = None if traced is None else (traced[0], dict(traced[1].shares))
        if key:
            write_fact(key, [] if result is None else [dataclasses.asdict(result[0]), result[1]])
        return result

    def _predict_whole(self, step: Step) -> Prediction:
        key = build_prediction_key(step, 1) if self.cache else None
        if key and (stored := read_prediction(key)):
            return stored
        prediction = predict_whole(step)
        if key:
            write_prediction(key, prediction)
        return prediction


def _read_trace(stored: Any) -> tuple[DeepStep, dict[str, int]] | None:
    if not stored:
        return None
    fields, shares = stored
    spans = tuple(Figures(**span) for span in fields["spans"])
    return DeepStep(**fields | {"spans": spans}), shares


def set_batch(step: Step, batch: int) -> Step:
    """The step with so many rows per batch."""
    cells = []
    for cell in step.cells:
        protocol = cell.protocol.model_copy(update={"batch_size": batch})
        cells.append(cell.model_copy(update={"protocol": protocol}))
    return dataclasses.replace(step, cells=tuple(cells))


def join_batches(ends: list[int], steps: list[DeepStep], batch: int) -> DeepStep:
    """The step with `batch` rows, by a line through each count of the steps with ends[0] and ends[1] rows."""
    (low, high), (a, b) = ends, steps

    def line(first: int, second: int) -> int:
        return round(first + (second - first) * (batch - low) / (high - low))

    pairs = zip(a.spans, b.spans, strict=True)
    spans = [Figures(line(s.peak, t.peak), line(s.created, t.created)) for s, t in pairs]
    counts = {
        name: line(getattr(a, name), getattr(b, name))
        for name in ("forward_live", "forward_flops", "launches", "flops")
    }
    return DeepStep(spans=tuple(spans), **counts)


def count_parameters(source: ModelSource, outputs: int | None) -> int:
    """Parameters of a model of which all blocks have the same, from models of one and two blocks without weights."""
    from harness.models.depth import read_depth
    from harness.models.load import load_config, load_skeleton

    depth = read_depth(load_config(source, outputs))
    if depth is None:
        return sum(p.numel() for p in load_skeleton(source, outputs).parameters())
    one, two = (
        sum(p.numel() for p in load_skeleton(dataclasses.replace(source, layers=n), outputs).parameters())
        for n in (1, 2)
    )
    return one + (two - one) * (depth - 1)
