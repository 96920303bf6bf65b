"""Made-up result files in the formats of peft's method comparison and of lm-eval."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

QUESTIONS = 1319


def peft_run(
    name: str, right: int | None, created: str = "2026-01-10T10:00:00+00:00", torch: str = "2.9.0", **train: Any
) -> dict[str, Any]:
    """A run of MetaMathQA with `right` answers; None for a failed one."""
    rate = train.pop("lr", 1e-4)
    metrics: list[dict[str, Any]] = [
        {"step": 250, "valid accuracy": 0.3, "train loss": 0.9, "train samples": 1000},
        {"step": 500, "valid accuracy": 0.4, "train loss": 0.7, "train samples": 2000},
    ]
    if right is not None:
        final = {"step": 500, "test accuracy": right / QUESTIONS, "train loss": 0.7, "forgetting": 0.05}
        metrics.append(final | {"train samples": 2000, "train total tokens": 9})
    config = {"model_id": "org/base-1B", "seed": 0, "max_steps": 500, "batch_size": 4, **train}
    return {
        "run_info": {
            "created_at": created,
            "total_time": 200.5,
            "experiment_name": name,
            "peft_branch": "main",
            "train_config": config | {"optimizer_kwargs": {"lr": rate, "weight_decay": 0.1}},
            "peft_config": {"peft_type": "LORA", "r": 8, "target_modules": ["v_proj", "q_proj"]},
            "error_msg": "" if right is not None else "CUDA out of memory",
        },
        "train_info": {
            "accelerator_memory_reserved_avg": 10,
            "accelerator_memory_max": 20 * 2**30,
            "accelerator_memory_reserved_99th": 19,
            "train_time": 150.25,
            "file_size": 1000,
            "num_trainable_params": 9175040,
            "num_total_params": 10**9,
            "status": "success" if right is not None else "failed",
            "metrics": metrics,
        },
        "meta_info": {
            "model_info": {"sha": "a" * 40, "created_at": created},
            "dataset_info": {},
            "package_info": {"torch-version": torch, "transformers-version": "5.1.0", "peft-commit-hash": None},
            "system_info": {"accelerator": "a GPU"},
            "pytorch_info": "",
        },
    }


def image_run(name: str, similarity: float, drift: float = 0.2) -> dict[str, Any]:
    """A run of the benchmark of images."""
    content = peft_run(name, 0)
    content["train_info"]["metrics"] = [
        {"step": 500, "test dino_similarity": similarity, "drift": drift, "train loss": 0.7, "train samples": 9}
    ]
    content["run_info"]["train_config"]["instance_prompts"] = ["a cat"]
    return content


def write_peft(folder: Path, runs: Sequence[Mapping[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(runs):
        (folder / f"{number}.json").write_text(json.dumps(content))
    return folder


def write_evaluation(
    folder: Path,
    model: str,
    answers: Mapping[str, Sequence[float]],
    *,
    date: str = "2026-01-10T10-00-00.5",
    group: Sequence[str] = (),
    prompt: str = "",
    filters: Sequence[str] = ("none",),
    metric: str = "acc",
    **config: Any,
) -> Path:
    """An evaluation of `model` with a score per question of each task; the tasks of `group` belong to 'my_group'.

    All filters have the same scores. `prompt` begins every prompt.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict[str, Any]] = {}
    for task, values in answers.items():
        mean = sum(values) / len(values)
        results[task] = {"alias": task, "sample_len": len(values)}
        for name in filters:
            results[task] |= {f"{metric},{name}": mean, f"{metric}_stderr,{name}": 0.1}
        lines = [
            build_sample(task, i, value, metric, name, prompt) for name in filters for i, value in enumerate(values)
        ]
        (folder / f"samples_{task}_{date}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if group:
        pooled = [value for task in group for value in answers[task]]
        results["my_group"] = {"alias": "my_group", f"{metric},none": sum(pooled) / len(pooled)}
    content = {
        "results": results,
        "group_subtasks": {"my_group": list(group)} if group else {},
        "configs": {task: {"task": task, "metric_list": [{"metric": metric}]} for task in answers},
        "versions": dict.fromkeys(results, 1.0),
        "n-shot": dict.fromkeys(answers, config.pop("shots", 0)),
        "n-samples": {task: {"original": len(v), "effective": len(v)} for task, v in answers.items()},
        "higher_is_better": {task: {metric: True} for task in answers},
        "config": {"model": "hf", "model_args": {"pretrained": model}, "limit": None, **config},
        "date": 1768039200.0,
        "model_name": model,
        "transformers_version": "5.1.0",
        "lm_eval_version": "0.4.13",
    }
    (folder / f"results_{date}.json").write_text(json.dumps(content))
    return folder


def build_sample(task: str, number: int, value: float, metric: str, filter_name: str, prompt: str) -> dict[str, Any]:
    doc = {"question": f"{task} {number}"}
    hashes = {"doc_hash": json.dumps(doc), "prompt_hash": f"{prompt} {task} {number}", "target_hash": f"{number}"}
    return {
        "doc_id": number,
        "doc": doc,
        "target": "a",
        "arguments": {},
        "resps": [],
        "filtered_resps": [],
        "filter": filter_name,
        "metrics": [metric],
        **{name: hashlib.sha256(text.encode()).hexdigest() for name, text in hashes.items()},
        metric: value,
    }
