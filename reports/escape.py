"""Text of records made safe for Markdown and LaTeX: names, reasons and commands may hold anything."""

from __future__ import annotations

import re
import unicodedata

MARKDOWN = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;"} | {mark: f"\\{mark}" for mark in "\\`*_|$~"},
)
LATEX = str.maketrans(
    {mark: f"\\{mark}" for mark in "&%$#_{}"}
    | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': r"\textquotedbl{}",
        "'": r"\textquotesingle{}",
        "`": r"\textasciigrave{}",
        "-": "{-}",
        "±": r"\textpm{}",
        "\u00d7": r"\texttimes{}",
        "†": r"\textdagger{}",
        "\u2013": r"\textendash{}",
        "…": r"\textellipsis{}",
    }
)
KNOWN = "\u00ff"
"""The last character that every LaTeX engine sets as it stands."""


def one_line(text: str) -> str:
    """Line ends and other control characters as spaces."""
    return re.sub(r"\s+", " ", "".join(" " if unicodedata.category(c).startswith("C") else c for c in text)).strip()


def markdown(value: object) -> str:
    """As it is read, in a paragraph or a table cell of GitHub's Markdown; a bracket stays where it makes no link."""
    text = re.sub(r"\](?=[(\[:])", r"\\]", one_line(str(value)).translate(MARKDOWN))
    return re.sub(r"^(\d*)([#+.)-])(?= )", r"\1\\\2", text)


def markdown_alt(value: object) -> str:
    """As `markdown`, within the brackets of an image."""
    return re.sub(r"(?<!\\)([\[\]])", r"\\\1", markdown(value))


def markdown_code(value: object) -> str:
    """A code span: fenced by more backticks than it holds."""
    text = one_line(str(value))
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    pad = " " if "`" in text else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def latex(value: object) -> str:
    """For LaTeX; what pdflatex cannot set is shown there by its number, and as it is by the other engines."""
    text = one_line(str(value))
    return "".join(c.translate(LATEX) if c <= KNOWN or ord(c) in LATEX else _unicode(c) for c in text)


def _unicode(character: str) -> str:
    return f"\\unicode{{{ord(character):04X}}}{{{character}}}"
