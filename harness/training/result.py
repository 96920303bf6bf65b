"""The result of one member of a pack, and its conversion to plain values for a checkpoint."""

from __future__ import annotations

import dataclasses
import io
import json
from typing import TYPE_CHECKING, Any

from harness.core.method import Exported
from harness.core.record import Forgetting, Parameters, Phases, Sharpness, TrainState
from harness.core.stored_files import encode_parquet
from harness.training.history import TrainingHistory

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass
class Result:
    """The result of one member: loss curve, scores in points, predictions, parameter counts, bytes of training state.

    `predictions` is None if an output is not finite. `phases` are the pack's seconds, set when the pack ends.
    """

    history: TrainingHistory
    scores: dict[str, float]
    predictions: pd.DataFrame | None
    parameters: Parameters
    state: TrainState
    phases: Phases | None = None
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)
    adapter: Exported | None = None
    notes: tuple[str, ...] = ()
    forgetting: Forgetting | None = None
    sharpness: Sharpness | None = None


def to_plain(result: Result) -> dict[str, Any]:
    """The result as numbers, texts, bytes and tensors only, which torch.load reads with weights_only=True."""
    from pydantic_core import to_json

    return {
        "trained": dataclasses.asdict(result.history),
        "scores": {name: float(score) for name, score in result.scores.items()},
        "predictions": None if result.predictions is None else encode_parquet(result.predictions),
        "parameters": result.parameters.model_dump(),
        "state": result.state.model_dump(),
        "extra": to_json(result.extra).decode(),
        "notes": list(result.notes),
        "forgetting": None if result.forgetting is None else result.forgetting.model_dump(),
        "sharpness": None if result.sharpness is None else result.sharpness.model_dump(),
        "adapter": None if result.adapter is None else _encode_adapter(result.adapter),
    }


def from_plain(plain: dict[str, Any]) -> Result:
    """The result that `to_plain` converted, without phases: those are known when the pack ends."""
    import pandas as pd

    predictions = plain["predictions"]
    return Result(
        TrainingHistory(**plain["trained"]),
        plain["scores"],
        None if predictions is None else pd.read_parquet(io.BytesIO(predictions)),
        Parameters(**plain["parameters"]),
        TrainState(**plain["state"]),
        extra=json.loads(plain["extra"]),
        notes=tuple(plain.get("notes", ())),
        forgetting=Forgetting(**plain["forgetting"]) if plain.get("forgetting") else None,
        sharpness=Sharpness(**plain["sharpness"]) if plain.get("sharpness") else None,
        adapter=None if plain["adapter"] is None else _decode_adapter(plain["adapter"]),
    )


def _encode_adapter(adapter: Exported) -> dict[str, Any]:
    from pydantic_core import to_json  # its encoder writes the sets of peft's configurations, json does not

    tensors = {name: tensor.detach().cpu() for name, tensor in adapter.tensors.items()}
    return {"config": to_json(adapter.config.to_dict()).decode(), "tensors": tensors}


def _decode_adapter(plain: dict[str, Any]) -> Exported:
    from peft import PeftConfig

    config = PeftConfig.from_peft_type(**json.loads(plain["config"]))  # type: ignore[no-untyped-call]
    return Exported(config, plain["tensors"])
