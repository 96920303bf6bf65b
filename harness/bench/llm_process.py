"""Train one subject of `bench llm` in this process: the same weights, rows, budget and optimizer for each.

rows        random tokens, all of full length, a loss on each token but the first
budget      constant learning rate, AdamW without weight decay, gradients clipped at norm 1
bf16        backbone in bfloat16, adapter in float32, autocast
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol as Contract

import numpy as np
import torch
from torch import Tensor, nn

from harness.bench.llm_job import OURS, LlmJob, LlmMeasurement
from harness.bench.silence import silence_warnings
from harness.core.cell import ModelRef, Precision
from harness.core.device import choose_threads
from harness.core.failure import summarize_error
from harness.core.method import METHODS, Member
from harness.core.protocol import Protocol
from harness.core.registry import load_all
from harness.core.seeds import Streams, equal
from harness.data.sampler import ReplicaSampler
from harness.data.task_types.answered_rows import AnsweredRows, TokenizedExample, build_separate_rows
from harness.data.task_types.token_losses import TokenLosses
from harness.models.load import load_model
from harness.models.source import ModelSource
from harness.profiling.clocks import RssPeak, synchronise
from harness.training.pack_setup import build_calibration
from harness.training.trainer import Trainer

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of LLaMA's blocks."""
BATCHES = 8
"""Batches of different rows, which come again in each epoch."""


class Subject(Contract):
    """Something that trains step by step.

    `captures`: it replays a CUDA graph; `fallback` says why it does not.
    """

    captures: bool

    @property
    def fallback(self) -> str | None: ...

    def step(self, number: int) -> Tensor:
        """The loss of one step, still on the device."""


def measure_job(job: LlmJob) -> LlmMeasurement:
    """The measurement of a job, or the failure of its subject; call it in a process of its own."""
    load_all()
    choose_threads(job.threads)
    try:
        with silence_warnings():
            return _time_subject(job)
    except Exception as error:  # whatever a library raises: the other subjects still run
        return LlmMeasurement(failure=f"failed: {summarize_error(error)}")


def _time_subject(job: LlmJob) -> LlmMeasurement:
    memory = _PeakMeter(job.device)
    subject: Subject = OurTraining(job) if job.subject == OURS else PeftTraining(job)
    losses: list[Tensor] = []
    for number in range(job.warmup):
        losses.append(subject.step(number).clone())
    synchronise(job.device)
    warmup_peak = memory.read()
    memory.restart()
    seconds = []
    for number in range(job.warmup, job.steps):
        start = time.perf_counter()
        loss = subject.step(number)
        synchronise(job.device)
        seconds.append(time.perf_counter() - start)
        losses.append(loss.clone())
    timed_peak = memory.read()
    whole = max(warmup_peak, timed_peak)
    replays = subject.captures and subject.fallback is None
    values = tuple(float(loss) for loss in losses)
    return LlmMeasurement(tuple(seconds), values, whole if replays else timed_peak, whole, subject.fallback)


class _PeakMeter:
    """Bytes at the peak: allocated on a GPU, else resident memory above that at the start."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.start = RssPeak().start
        self.restart()

    def restart(self) -> None:
        self._resident = RssPeak()
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def read(self) -> int:
        if self.device == "cuda":
            return int(torch.cuda.max_memory_allocated())
        return self._resident.measure_above(self.start)


def load_backbone(job: LlmJob) -> Any:
    """The shape with random weights, the same for each subject."""
    ref = ModelRef(name=job.shape, revision=f"random weights of {job.shape}")
    source = ModelSource(job.shape, Path(), ref, "as stored", stand_in=True, shape=job.shape)
    precision: Precision = "bf16" if job.dtype == "bf16" else "fp32"
    return load_model(source, None, dtype=precision, device=job.device)


def make_rows(job: LlmJob, vocabulary: int) -> AnsweredRows:
    """Rows of random tokens, all of full length."""
    ids = np.random.default_rng(0).integers(0, vocabulary, (BATCHES * job.batch, job.length)).tolist()
    answer = [False] + [True] * (job.length - 1)
    examples = [TokenizedExample(row, answer, False) for row in ids]
    return build_separate_rows([str(i) for i in range(len(ids))], examples, 0).to(job.device)


def make_protocol(job: LlmJob) -> Protocol:
    return Protocol(
        lr=1e-4,
        epochs=float(job.steps),
        max_steps=job.steps,
        batch_size=job.batch,
        max_length=job.length,
        schedule="constant",
        warmup=0.0,
        weight_decay=0.0,
    )


class OurTraining:
    """Our trainer, as a run uses it."""

    captures = True

    def __init__(self, job: LlmJob) -> None:
        model = load_backbone(job)
        rows, protocol, losses = make_rows(job, model.config.vocab_size), make_protocol(job), TokenLosses()
        lora: Any = METHODS.get("lora")
        method = lora(rank=job.rank, alpha=float(job.rank), dropout=job.dropout, target=LINEAR)
        streams = Streams(equal(0))
        member = Member(method, streams, job.steps)
        attached = method.attach(model, [member], build_calibration(rows, losses))
        self.captures = job.device == "cuda"
        self.trainer = Trainer(
            model, attached, rows, [protocol], [streams], losses, autocast=job.dtype == "bf16" and method.autocasts
        )

    @property
    def fallback(self) -> str | None:
        return self.trainer.runner.fallback

    def step(self, number: int) -> Tensor:
        with self.trainer.runner.stream():
            return self.trainer.train_step(number)[0]


class PeftTraining:
    """A plain loop around peft's LoRA: with Liger's kernels, compiled, or by Unsloth, as the job's subject says."""

    captures = False
    fallback: str | None = None

    def __init__(self, job: LlmJob) -> None:
        self.job = job
        self.model = _build_unsloth(job) if job.subject == "unsloth" else _build_peft(job)
        self.model.train()
        self.rows = make_rows(job, self.model.config.vocab_size)
        protocol = make_protocol(job)
        self.order = ReplicaSampler([Streams(equal(0))], self.rows.lengths, job.batch, by_length=False)
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.trained,
            lr=protocol.lr,
            betas=(protocol.beta1, protocol.beta2),
            eps=protocol.epsilon,
            weight_decay=0.0,
            fused=job.device == "cuda",
        )
        self.clip = protocol.clip
        compiled = job.subject.endswith("+compile")
        self.call: Callable[..., Any] = torch.compile(self.model) if compiled else self.model

    def step(self, number: int) -> Tensor:
        chosen = np.asarray(self.order.at(number))
        ids = self.rows.batch(chosen)["input_ids"]
        # without padding: a mask of ones would only be read to find that out
        with torch.autocast(self.job.device, torch.bfloat16, enabled=self.job.dtype == "bf16"):
            loss: Tensor = self.call(input_ids=ids, labels=ids).loss
        loss.backward()
        nn.utils.clip_grad_norm_(self.trained, self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()


def _build_peft(job: LlmJob) -> Any:
    """peft's model; Liger changes transformers' classes before the model is built."""
    if "+liger" in job.subject:
        from liger_kernel.transformers import apply_liger_kernel_to_llama

        apply_liger_kernel_to_llama()
    from peft import LoraConfig, get_peft_model

    model = load_backbone(job)
    config = LoraConfig(
        r=job.rank,
        lora_alpha=job.rank,
        lora_dropout=job.dropout,
        target_modules=list(LINEAR),
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(0)
    return get_peft_model(model, config)


def _build_unsloth(job: LlmJob) -> Any:
    """Unsloth's model of the same weights, which it loads from a folder."""
    from unsloth import FastLanguageModel

    with tempfile.TemporaryDirectory() as folder:
        load_backbone(dataclasses.replace(job, device="cpu")).save_pretrained(folder)
        dtype = torch.bfloat16 if job.dtype == "bf16" else torch.float32
        model, _ = FastLanguageModel.from_pretrained(
            folder, max_seq_length=job.length, dtype=dtype, load_in_4bit=False, local_files_only=True
        )
    return FastLanguageModel.get_peft_model(
        model,
        r=job.rank,
        lora_alpha=job.rank,
        lora_dropout=job.dropout,
        target_modules=list(LINEAR),
        bias="none",
        use_gradient_checkpointing=False,
        random_state=0,
    )
