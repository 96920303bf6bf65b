"""Text of records made safe for Markdown and LaTeX: names, reasons and commands may hold anything."""

from __future__ import annotations

import re

from harness.core.terminal import escape_text

MARKDOWN_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;"} | {mark: f"\\{mark}" for mark in "\\`*_|$~"},
)
LATEX_ESCAPES = str.maketrans(
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
LAST_PLAIN_CHARACTER = "\u00ff"
"""The last character that every LaTeX engine sets as it stands."""


def flatten_text(value: object) -> str:
    """The text in one line: runs of white space as a space, control characters as escapes."""
    return escape_text(" ".join(str(value).split()))


def escape_markdown(value: object) -> str:
    """As it is read, in a paragraph or a table cell of GitHub's Markdown; a bracket stays where it makes no link."""
    text = re.sub(r"\](?=[(\[:])", r"\\]", flatten_text(value).translate(MARKDOWN_ESCAPES))
    text = re.sub(r"^(\d*)([#+.)-])(?= )", r"\1\\\2", text)
    return re.sub(r"^(?=(--+|==+)$)", r"\\", text)  # a line of these is a rule, or makes a heading of the line above


def escape_markdown_alt(value: object) -> str:
    """As `escape_markdown`, within the brackets of an image."""
    return re.sub(r"(?<!\\)([\[\]])", r"\\\1", escape_markdown(value))


def format_markdown_code(value: object) -> str:
    """A code span: fenced by more backticks than it holds."""
    text = flatten_text(value)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    pad = " " if "`" in text else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def escape_latex(value: object) -> str:
    """For LaTeX; what pdflatex cannot set is shown there by its number, and as it is by the other engines."""
    text = flatten_text(value)
    escaped = "".join(
        c.translate(LATEX_ESCAPES) if c <= LAST_PLAIN_CHARACTER or ord(c) in LATEX_ESCAPES else _format_unicode(c)
        for c in text
    )
    # after a row's end and \item these would begin an option
    return f"{{}}{escaped}" if escaped[:1] in ("[", "*") else escaped


def _format_unicode(character: str) -> str:
    return f"\\unicode{{{ord(character):04X}}}{{{character}}}"
