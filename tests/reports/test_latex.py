"""Tables of any shape fit the text of an article in LaTeX."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from reports.document import Table
from reports.templating import render_latex_table

PDFLATEX = shutil.which("pdflatex")


@pytest.mark.skipif(PDFLATEX is None, reason="no pdflatex here")
def test_wide_and_long_tables_fit_in_latex(tmp_path: Path) -> None:
    """A longtable, a table of 20 columns, names of 200 characters, and a paragraph in a cell."""
    words = "a sentence of some length that has to be broken into lines, or else it stands beyond the margin; " * 3
    tables = {
        "long": Table("long", ("n", "square"), [(str(i), str(i * i)) for i in range(200)]),
        "wide": Table("wide", ("method", *(f"column {i}" for i in range(20))), [("lora", *["12.3 ± 4.5"] * 20)] * 2),
        "names": Table("names", ("method", "value"), [("x" * 200, "1.0"), ("W" * 200, "2.0")]),
        "words": Table("words", ("method", "what", "why"), [("lora:rank=8,targets=all-linear", words, words)], [words]),
        "wide-and-long": Table(
            "both", ("a", "b", *"cdefghij"), [(str(i), *["lorasp:select=magnitude"] * 9) for i in range(90)]
        ),
    }
    files = {name: render_latex_table(name, table) for name, table in tables.items()}
    for name, content in files.items():
        (tmp_path / f"{name}.tex").write_bytes(content)
    inputs = "\n".join(rf"\input{{{name}}}\clearpage" for name in files)
    packages = r"\usepackage[T1]{fontenc}\usepackage{array,booktabs,longtable,textcomp}"
    body = rf"\documentclass[10pt]{{article}}{packages}\begin{{document}}{inputs}\end{{document}}"
    (tmp_path / "all.tex").write_text(body)
    for _ in range(2):  # widths of a longtable are right the second time
        command = [str(PDFLATEX), "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, errors="replace")
        assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "all.log").read_text(errors="replace")
    assert not re.findall(r"Overfull .hbox.*", log)
    labels = re.findall(r"\\newlabel\{(.*?)\}", (tmp_path / "all.aux").read_text())
    assert {"tab:long", "tab:wide", "tab:wide-2", "tab:names", "tab:words"} <= set(labels)
