"""What came of one member of a pack; the same as plain values, which a checkpoint holds."""

from __future__ import annotations

import dataclasses
import io
import json
from typing import TYPE_CHECKING, Any

from harness.core.method import Exported
from harness.core.record import Parameters, Phases, TrainState
from harness.core.store import parquet
from harness.training.trainer import Trained

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass
class Result:
    """What came of one member of a pack."""

    trained: Trained
    scores: dict[str, float]
    predictions: pd.DataFrame | None
    parameters: Parameters
    state: TrainState
    phases: Phases | None = None
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)
    adapter: Exported | None = None
    notes: tuple[str, ...] = ()


def to_plain(result: Result) -> dict[str, Any]:
    """Numbers, texts, bytes and tensors."""
    from pydantic_core import to_json

    return {
        "trained": dataclasses.asdict(result.trained),
        "scores": {name: float(score) for name, score in result.scores.items()},
        "predictions": None if result.predictions is None else parquet(result.predictions),
        "parameters": result.parameters.model_dump(),
        "state": result.state.model_dump(),
        "extra": to_json(result.extra).decode(),
        "notes": list(result.notes),
        "adapter": None if result.adapter is None else _plain_adapter(result.adapter),
    }


def from_plain(plain: dict[str, Any]) -> Result:
    """What `to_plain` was given. The phases are the pack's, and known at its end."""
    import pandas as pd

    told = plain["predictions"]
    return Result(
        Trained(**plain["trained"]),
        plain["scores"],
        None if told is None else pd.read_parquet(io.BytesIO(told)),
        Parameters(**plain["parameters"]),
        TrainState(**plain["state"]),
        extra=json.loads(plain["extra"]),
        notes=tuple(plain.get("notes", ())),
        adapter=None if plain["adapter"] is None else _adapter(plain["adapter"]),
    )


def _plain_adapter(adapter: Exported) -> dict[str, Any]:
    from pydantic_core import to_json

    tensors = {name: tensor.detach().cpu() for name, tensor in adapter.tensors.items()}
    return {"config": to_json(adapter.config.to_dict()).decode(), "tensors": tensors}


def _adapter(plain: dict[str, Any]) -> Exported:
    from peft import PeftConfig

    made = PeftConfig.from_peft_type(**json.loads(plain["config"]))  # type: ignore[no-untyped-call]
    return Exported(made, plain["tensors"])
