"""The fields of Spec that say what trains and how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.core.cell import Precision, Recompute
from harness.core.protocol import LIMITS
from harness.core.quantization import describe_quantizations
from harness.core.spec_types import Axis, BatchSize, Decay, Epochs, Folder, Rate, Steps, Warmup, Whole, Words


class TrainingFields(BaseModel):
    """What trains, on which rows and how: the fields that a result depends on, but for plugins."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    suite: Annotated[tuple[str, ...], Words] = Field(
        default=("glue",), min_length=1, description="comma-separated suites; default: glue"
    )
    tasks: Annotated[tuple[str, ...], Words] = Field(
        default=(), description="comma-separated tasks; default: all tasks of the suites"
    )
    methods: str = Field(
        default="lora,lorasp",
        description=(
            "comma-separated methods with options; A|B tries both values: lora,lorasp:ratio=0.25|0.5;"
            " default: lora,lorasp"
        ),
    )
    seeds: Annotated[str, Whole] = Field(
        default="5",
        description=(
            "number of seeds, the same for all methods so that comparisons are paired; or seeds of named random"
            " streams (init=0,mask=0..9); or both (5,length=0); or auto (auto:5..100): adds seeds until each primary"
            " comparison is decided at --margin; default: 5"
        ),
    )
    preset: str = Field(
        default="quick",
        description=(
            "quick (tiny model, synthetic stand-in data, offline), small (MiniLM) or paper (roberta-base and"
            " others): sets model, data and training budget; default: quick"
        ),
    )
    protocol: Literal["default", "paper"] = Field(
        default="default",
        description=(
            "default: learning rates declared by each method; paper: learning rate 2e-5 and 3 epochs"
            " (arXiv 2403.08822); default: default"
        ),
    )
    tune: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description=(
            "number of tuning trials per method and task; searches the learning rate and other tunable options,"
            " scored on a validation part held out of the train rows; default: no tuning"
        ),
    )
    tune_tasks: Annotated[tuple[str, ...], Words] = Field(
        default=(),
        description=(
            "comma-separated tasks to tune on; the values with the best mean score are used for all tasks;"
            " default: each task is tuned separately"
        ),
    )
    tune_seeds: int = Field(
        default=1, ge=1, le=1000, description="seeds per tuning trial; a trial's score is their mean; default: 1"
    )
    model: tuple[str, ...] = Field(
        default=(),
        description=(
            "backbone: a model folder or hub id, for all suites or as SUITE=PATH (repeatable);"
            " default: that of the preset"
        ),
    )
    data_dir: Folder = Field(
        default=None,
        description=(
            "folder with the official data files of a suite, or its parent; default: the preset's source"
            " (quick: synthetic stand-in data; small, paper: the hub)"
        ),
    )
    data_file: tuple[str, ...] = Field(
        default=(),
        description=(
            "TASK/SPLIT=PATH: file to use in place of the official one; SUITE/train=SRC,TGT: sentence pairs;"
            " a path alone: a table (suite table); repeatable"
        ),
    )
    option: tuple[str, ...] = Field(
        default=(), description="NAME=VALUE: an option of a suite; `suites show NAME` lists those of a suite"
    )
    lr: Annotated[tuple[Rate, ...], Axis] = Field(
        default=(),
        description=(
            "peak learning rate of every method, comma-separated to try several, as the next flags with [,...] are;"
            " default: the rate that each method declares for the preset"
        ),
    )
    epochs: Annotated[tuple[Epochs, ...], Axis] = Field(
        default=(), description="passes over the training rows; default: 3 (preset quick: 10)"
    )
    max_steps: Annotated[tuple[Steps, ...], Axis] = Field(
        default=(),
        description=(
            "most optimizer steps; training ends earlier if the epochs do;"
            " default: no limit (preset quick: 150; wmt16, mmlu: 200; xnli: 300)"
        ),
    )
    batch_size: Annotated[tuple[BatchSize, ...], Axis] = Field(
        default=(),
        description="rows per optimizer step; default: 32 (preset quick: 16; preset paper with mmlu: 128)",
    )
    max_length: int | None = Field(
        default=None,
        ge=4,
        le=LIMITS["max_length"],
        description=(
            "most tokens per row; longer rows are truncated and counted;"
            " default: 128 (preset quick: 32; wmt16: 64, mmlu: 96; preset paper with mmlu: 512)"
        ),
    )
    group_by_length: bool | None = Field(
        default=None,
        description=(
            "length-bucketed batches, for less padding; a pack then holds one length seed"
            " (--seeds 8,length=0: the same for all seeds); default: off"
        ),
    )
    schedule: Annotated[tuple[str, ...], Axis] = Field(
        default=(),
        description="learning-rate schedule after the warm-up: linear, constant or cosine; default: linear",
    )
    warmup: Annotated[tuple[Warmup, ...], Axis] = Field(
        default=(),
        description="linear warm-up: a share of the steps (0.06) or a number of steps (100); default: 0.06",
    )
    weight_decay: Annotated[tuple[Decay, ...], Axis] = Field(
        default=(), description="weight decay, of no biases and norms; default: 0.01"
    )
    optimizer: Annotated[tuple[str, ...], Axis] = Field(
        default=(),
        description=(
            "optimizer: adamw, sgd, or of bitsandbytes adamw_8bit, paged_adamw_32bit, paged_adamw_8bit (names of"
            " transformers); default: adamw"
        ),
    )
    momentum: float | None = Field(default=None, ge=0, lt=1, description="momentum of sgd; default: 0")
    label_smoothing: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="label smoothing of the cross-entropy; default: 0 (preset paper with wmt16: 0.2)",
    )
    validation: bool = Field(
        default=False,
        description=(
            "hold out a validation part of the train rows (a fifth, at most 1,000 rows) and score each run on it too,"
            " for choices that must not see the eval splits; default: off"
        ),
    )
    train_rows: int | None = Field(
        default=None, ge=1, le=LIMITS["train_rows"], description="most training rows per task; default: all"
    )
    eval_rows: int | None = Field(
        default=None,
        ge=1,
        le=LIMITS["eval_rows"],
        description="most rows per eval split (mmlu: per subject); default: all (preset quick with wmt16: 200)",
    )
    dtype: Annotated[tuple[Precision, ...], Words] = Field(
        default=("fp32",),
        min_length=1,
        description="precision of the frozen backbone: fp32, bf16, or both separated by a comma; default: fp32",
    )
    quantize: Annotated[tuple[str, ...], Words] = Field(
        default=("none",),
        min_length=1,
        description="quantization of the frozen backbone: " + describe_quantizations() + "; default: none",
    )
    recompute: Annotated[tuple[Recompute, ...], Words] = Field(
        default=("none",),
        min_length=1,
        description="activation checkpointing, comma-separated to try several: none, selective, full; default: none",
    )
    init_from: str | None = Field(
        default=None,
        min_length=1,
        description=(
            "adapter to start from: a folder that peft saved, a file of microsoft/LoRA (FILE:alpha=16),"
            " or a run that saved its adapters (RUN:TASK, same method and seeds); default: a fresh adapter"
        ),
    )
