"""Readers of a report's Markdown, HTML and LaTeX that share nothing with the writers."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

Rows = list[list[str]]


class Page(HTMLParser):
    """Tables by caption, and all elements and text seen."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, Rows] = {}
        self.tags = [""]
        self.texts: list[str] = []
        self.rows: Rows = []
        self.caption = ""
        self.is_in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "table":
            self.rows = []
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.is_in_cell = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("th", "td"):
            self.is_in_cell = False
        elif tag == "table":
            self.tables.setdefault(self.caption, self.rows)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.tags[-1] == "caption" and data.strip():
            self.caption = data
        elif self.is_in_cell:
            self.rows[-1][-1] += data.strip("\n")


def of_markdown(text: str) -> dict[str, Rows]:
    """Tables by the heading above, as a CommonMark parser reads them."""
    found: dict[str, Rows] = {}
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    title, rows = "", []
    for before, token in zip([tokens[0], *tokens], tokens, strict=False):
        if token.type == "inline" and before.type == "heading_open":
            title = read_words(token)
        elif token.type == "table_open":
            rows = found.setdefault(title, [])
        elif token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and before.type in ("th_open", "td_open"):
            rows[-1].append(read_words(token))
    return found


def read_words(token: Token) -> str:
    """The text of a token, which must hold nothing but text, code and bold."""
    allowed = ("text", "text_special", "code_inline", "strong_open", "strong_close")
    assert all(child.type in allowed for child in token.children or []), token
    return "".join(child.content for child in token.children or [])


def of_latex(folder: Path) -> dict[str, Rows]:
    """Tables by caption, of the files that report.tex reads, in its order; the parts of a table side by side."""
    found: dict[str, Rows] = {}
    for name in re.findall(r"\\input\{(tables/.*?)\}", (folder / "report.tex").read_text()):
        text = (folder / f"{name}.tex").read_text()
        blocks = re.findall(r"\\begin\{(longtable|tabular)\}(.*?)\\end\{\1\}", text, re.S)
        captions = re.findall(r"\\caption\{(.*?)\}\\label", text)
        parts = [_read_block(kind == "longtable", body) for kind, body in blocks]
        first, *others = parts
        for part in others:
            keys = sum(a == b for a, b in zip(first[0], part[0], strict=False))
            first = [[*row, *more[keys:]] for row, more in zip(first, part, strict=True)]
        found.setdefault(plain(re.sub(r" \(part 1 of \d+\)$", "", captions[0])), first)
    return found


def _read_block(is_long: bool, body: str) -> Rows:
    lines = [line.strip() for line in body.splitlines() if line.endswith(r"\\") and "caption" not in line]
    lines = [lines[0], *lines[2:]] if is_long else lines  # the head stands twice
    cells = [re.split(r"(?<!\\)&", line.removesuffix(r"\\")) for line in lines]
    return [[plain(cell.strip()) for cell in row] for row in cells]


def plain(text: str) -> str:
    """The text that LaTeX would set."""
    words = {
        r"\allowbreak{}": "",
        r"\textpm{}": "±",
        r"\texttimes{}": "\u00d7",
        r"\textdagger{}": "†",
        "{-}": "-",
        r"\textquotesingle{}": "'",
        r"\textless{}": "<",
        r"\textgreater{}": ">",
        r"\textbar{}": "|",
    }
    for command, sign in words.items():
        text = text.replace(command, sign)
    return re.sub(r"\\([&%$#_{}])", r"\1", text)


def read_all(folder: Path) -> list[dict[str, Rows]]:
    """Markdown, HTML and LaTeX; the ranking, which has five columns in LaTeX, in the first two only."""
    return [
        of_markdown((folder / "report.md").read_text()),
        Page((folder / "report.html").read_text()).tables,
        {title: rows for title, rows in of_latex(folder).items() if not title.startswith("Ranking")},
    ]
