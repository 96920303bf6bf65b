"""The peak of a step for any number of rows per batch, from two traces for all of them."""

from __future__ import annotations

import dataclasses

from harness.models.source import ModelSource
from harness.planning.fact_cache import fact_key, read_fact, write_fact
from harness.profiling.by_blocks import BlockPredictor
from harness.profiling.fake_step import use_fake_tensors
from harness.profiling.predict import predict_whole
from harness.profiling.prediction import Prediction, Step, set_batch
from harness.profiling.prediction_cache import build_prediction_key, read_prediction, write_prediction


class BatchPredictor:
    """Predicts peaks of steps that differ in their batch size; with `cache` through the cache folder."""

    def __init__(self, *, cache: bool) -> None:
        self.cache = cache
        self._blocks = BlockPredictor()

    def predict_peaks(self, step: Step, batches: list[int]) -> dict[int, int]:
        """Bytes at the peak by batch size. Raises what a method raises that reads tensor values."""
        content = build_prediction_key(step, 1) if self.cache else None
        key = fact_key("peaks", {"prediction": content, "batches": batches}) if content else None
        if key and (stored := read_fact(key)) is not None:
            return dict(zip(batches, stored, strict=True))
        with use_fake_tensors():
            traced = self._blocks.trace_batches(step, batches)
        if traced is None:
            return {batch: self._predict_whole(set_batch(step, batch)).peak for batch in batches}
        steps, state = traced
        peaks = {batch: deep.to_prediction(1, state.shares, step.device).peak for batch, deep in steps.items()}
        if key:
            write_fact(key, list(peaks.values()))
        return peaks

    def _predict_whole(self, step: Step) -> Prediction:
        key = build_prediction_key(step, 1) if self.cache else None
        if key and (stored := read_prediction(key)):
            return stored
        prediction = predict_whole(step)
        if key:
            write_prediction(key, prediction)
        return prediction


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
