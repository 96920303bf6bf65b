"""Check saved adapters of each method on tiny models of each family, and write docs/supported-models.md.

    python -m scripts.supported_models [--families bert,gpt2]

For each family a tiny model with random weights and its tokenizer are written to a temporary folder, in the layout of a
downloaded model. The command line trains each method on it and saves the adapters. Then peft and transformers load each
adapter on the unchanged base model, and the merged model, without this project, and predict one text at a time without
padding. A row has the share of equal predictions (or texts) and the largest difference of a logit.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from scripts.tiny_models import BOTH, FAMILIES, LABELS, build_model, filter_warnings, write_data

OUT = Path(__file__).parent.parent / "docs" / "supported-models.md"
STEPS, LENGTH = 6, 16
# All predictions must agree; logits may differ by rounding, as batches have other shapes.
NEEDED, TOLERANCE = 1.0, 1e-4

METHODS = (
    "lora:rank=4",
    "lorasp:rank=4",
    "lorasp:rank=4,select=rank",
    "lora-fa:rank=4",
    "rslora:rank=4",
    "loraplus:rank=4",
    "pissa:rank=4",
    "dora:rank=4",
    "vera",
    "adalora:rank=4,start_rank=6",
    "ia3",
    "shira:rank=4",
    "prompt:tokens=4",
    "prefix:tokens=4",
)
"""Every method whose adapters peft can represent, with ranks that fit the narrow layers."""
VIRTUAL = ("prompt", "prefix")
"""Methods with virtual tokens, which cannot be merged into weights."""


# ---------------------------------------------------------------- training by the command line


def select_applicable(kind: str, base: Path, methods: Sequence[str]) -> list[str]:
    """The methods that are applicable to this model."""
    from harness.core.errors import NotApplicable
    from harness.core.presets import get_preset
    from harness.core.registry import load_all
    from harness.models.load import load_skeleton
    from harness.models.source import resolve
    from harness.planning.grammar import parse_methods

    load_all(())
    model = load_skeleton(
        resolve(get_preset("quick"), "glue", str(base)), len(LABELS) if kind == "classification" else None
    )
    fitting = []
    for method in methods:
        with contextlib.suppress(NotApplicable):
            parse_methods(method)[0].method.fits(model)
            fitting.append(method)
    return fitting


def train_methods(kind: str, base: Path, data: Path, out: Path, methods: Sequence[str]) -> None:
    """Train the methods and save their adapters in the run `out`."""
    common = f"--max-steps {STEPS} --max-length {LENGTH} --seeds 1 --no-profile --threads 1 --save-adapters"
    words = ["run", *common.split(), "--methods", ",".join(methods), "--model", str(base), "--out", str(out)]
    words += ["--formats", "csv"]
    if kind == "classification":
        files = [f"--data-file={data}/train.csv", f"--data-file=train/validation={data}/validation.csv"]
        words += ["--suite", "table", *files, "--text", "text", "--label", "label"]
    else:
        words += ["--suite", "wmt16", "--tasks", "en-ro", "--data-dir", str(data), "--max-target-length", str(LENGTH)]
    call_command_line(words)


def call_command_line(words: Sequence[str]) -> None:
    """Run the command line in this process. Raises RuntimeError with its output if it fails."""
    from harness.cli.main import main

    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output), filter_warnings():
        code = main(list(words))
    if code:
        raise RuntimeError(output.getvalue()[-2000:])


# ---------------------------------------------------------------- plain peft and transformers


@dataclasses.dataclass(frozen=True)
class Agreement:
    """The share of equal predictions, and the largest difference of a logit (None for texts)."""

    agree: float
    difference: float | None

    @property
    def text(self) -> str:
        return f"{self.agree:.2f}" if self.difference is None else f"{self.agree:.2f}, {self.difference:.0e}"

    @property
    def is_enough(self) -> bool:
        return self.agree >= NEEDED and (self.difference or 0.0) <= TOLERANCE


def compute_logits(model: Any, tokenizer: Any, texts: Sequence[str]) -> torch.Tensor:
    """Logits [n, classes], each text by itself and without padding."""
    with torch.no_grad():
        rows = [model(**tokenizer(text, return_tensors="pt")).logits[0] for text in texts]
    return torch.stack(rows)


def generate_texts(model: Any, tokenizer: Any, texts: Sequence[str]) -> list[str]:
    """The greedy generation of a language model for each text by itself."""
    both = model.config.is_encoder_decoder
    end = tokenizer.eos_token_id
    outputs = []
    for text in texts:
        inputs = tokenizer(text, return_tensors="pt")
        # Prompts of a causal model end with a newline, as in the suite.
        if not both:
            ids = [*inputs["input_ids"][0].tolist(), *tokenizer("\n", add_special_tokens=False)["input_ids"]]
            inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        with torch.no_grad():
            ids = model.generate(**inputs, max_new_tokens=LENGTH, do_sample=False, num_beams=1, pad_token_id=end)[0]
        before = inputs["input_ids"][0]
        # Prompt tuning generates from embeddings, and then only new tokens are returned.
        repeated = not both and torch.equal(ids[: len(before)], before)
        new = ids[len(before) :] if repeated else ids
        outputs.append(" ".join(tokenizer.decode(new, skip_special_tokens=True).split()))
    return outputs


def compare_predictions(kind: str, model: Any, tokenizer: Any, texts: Sequence[str], stored: pd.DataFrame) -> Agreement:
    """Agreement of a model's predictions with the stored ones."""
    model = model.eval()
    if kind == "generation":
        same = [a == b for a, b in zip(generate_texts(model, tokenizer, texts), stored["prediction"], strict=True)]
        return Agreement(sum(same) / len(same), None)
    stored_logits = torch.tensor(stored["logits"].tolist())
    theirs = compute_logits(model, tokenizer, texts)
    agree = (stored_logits.argmax(1) == theirs.argmax(1)).double().mean()
    return Agreement(float(agree), float((stored_logits - theirs).abs().max()))


def get_auto_classes(kind: str, auto: str) -> tuple[Any, Any]:
    """The Auto classes of peft and of transformers for a kind of task."""
    import peft
    import transformers

    name = "SequenceClassification" if kind == "classification" else auto
    return getattr(peft, f"AutoPeftModelFor{name}"), getattr(transformers, f"AutoModelFor{name}")


def check_cell(kind: str, name: str, base: Path, cell: Path, texts: Sequence[str]) -> Iterator[tuple[str, Agreement]]:
    """("adapter", agreement) and ("merged", agreement) for the cell with the record file `cell`."""
    from transformers import AutoTokenizer

    out, record = cell.parent.parent, json.loads(cell.read_text())
    stored, adapter = pd.read_parquet(cell.with_suffix(".parquet")), out / record["adapter"]["path"]
    tokenizer = AutoTokenizer.from_pretrained(base)
    peft_class, plain_class = get_auto_classes(kind, FAMILIES[name].auto)
    with filter_warnings():
        yield "adapter", compare_predictions(kind, peft_class.from_pretrained(str(adapter)), tokenizer, texts, stored)
    if record["cell"]["method"] not in VIRTUAL:
        merged_folder = out / "merged" / cell.stem
        call_command_line(["merge", str(adapter), "--model", str(base), "--out", str(merged_folder)])
        with filter_warnings():
            merged = plain_class.from_pretrained(str(merged_folder))
        # Without names of labels a user would see LABEL_0, so the merged config must have them.
        if kind == "classification" and tuple(merged.config.id2label.values()) != LABELS:
            raise RuntimeError(f"{name}: the merged model has the labels {merged.config.id2label}")
        yield "merged", compare_predictions(kind, merged, tokenizer, texts, stored)


def _read_texts(kind: str, data: Path) -> list[str]:
    if kind == "classification":
        return list(pd.read_csv(data / "validation.csv")["text"])
    return (data / "newstest2016.en").read_text().splitlines()


# ---------------------------------------------------------------- the table

Row = dict[str, str]
COLUMNS = ("model", "method", "classification: adapter", "merged", "generation: adapter", "merged ")
NOT_HERE = "-"


def measure_family(name: str, methods: Sequence[str] = METHODS) -> list[Row]:
    """The rows of one family, with a dash where a method is not applicable to a kind of task.

    Raises RuntimeError where predictions of an adapter or merged model differ from the stored ones.
    """
    rows = {
        method: dict.fromkeys(COLUMNS, NOT_HERE) | {"model": name, "method": _format_method(method)}
        for method in methods
    }
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        base = build_model(name, folder / "base")
        write_data(folder)
        for kind in FAMILIES[name].kinds:
            fitting, texts = select_applicable(kind, base, methods), _read_texts(kind, folder)
            train_methods(kind, base, folder, folder / kind, fitting)
            cells = {_find_method(cell): cell for cell in (folder / kind).glob("cells/*.json")}
            for method in fitting:
                for form, agreement in check_cell(kind, name, base, cells[method], texts):
                    if not agreement.is_enough:
                        raise RuntimeError(f"{name}, {method}, {kind}, {form}: {agreement.text}")
                    column = f"{kind}: adapter" if form == "adapter" else "merged" if kind == BOTH[0] else "merged "
                    rows[method][column] = agreement.text
    return list(rows.values())


def _format_method(method: str) -> str:
    """The method's name, with its strategy if it has one."""
    name, _, options = method.partition(":")
    return f"{name} ({options.partition(',')[2]})" if "select=" in options else name


def _find_method(record: Path) -> str:
    """The entry of METHODS that a record belongs to."""
    cell = json.loads(record.read_text())["cell"]
    options = {f"{name}={value}" for name, value in cell["options"].items()}
    return next(m for m in METHODS if m.partition(":")[0] == cell["method"] and set(_split_options(m)) == options)


def _split_options(method: str) -> list[str]:
    return [option for option in method.partition(":")[2].split(",") if option]


HEAD = """# Supported models

Written by `python -m scripts.supported_models`; do not edit. The command line trains tiny models with random weights
for a few steps. Then peft and transformers, without this project, load each saved adapter on the unchanged base model,
and the model that `merge` wrote, and predict one text at a time without padding. Adapters are loaded by peft's AutoPeft
classes, without naming the number of labels.

A table cell has the share of predictions (classification with three classes) or generated texts (generation) that equal
those stored by the run, and the largest difference of a logit. A dash: the method is not applicable, which the command
line reports before training. Encoders generate no text, and virtual tokens cannot be merged. Methods that peft cannot
represent (adapter, bitfit, full, galore, head) save no adapter.

"""


def format_page(rows: Sequence[Row]) -> str:
    """The page as Markdown."""
    lines = [f"| {' | '.join(column.strip() for column in COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    for row in rows:
        cells = [row[column] for column in COLUMNS]
        lines.append(f"| {' | '.join(cells)} |")
    return HEAD + "\n".join(lines) + "\n"


def read_table(text: str) -> list[Row]:
    """The rows of a page that `format_page` wrote."""
    rows = []
    for line in [line for line in text.splitlines() if line.startswith("| ")][1:]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        rows.append(dict(zip(COLUMNS, cells, strict=True)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", help="names joined with commas; other rows of the page do not change")
    families = parser.parse_args().families
    names = families.split(",") if families else list(FAMILIES)
    rows_by_family: dict[str, list[Row]] = {}
    for row in read_table(OUT.read_text()) if OUT.is_file() else []:
        rows_by_family.setdefault(row["model"], []).append(row)
    for name in names:
        rows_by_family[name] = measure_family(name)
        # After each family, because all of them take minutes and one may fail.
        OUT.write_text(format_page([row for family in FAMILIES for row in rows_by_family.get(family, [])]))
        print(f"{name}: {len(rows_by_family[name])} rows", flush=True)


if __name__ == "__main__":
    main()
