"""Wordings of exam questions and of instructions; they share none, so the exam does not repeat training text."""

from __future__ import annotations

EXAM = {
    "astronomy": ("Observers describe the {property} of {thing} as", "Seen at night, which {property} has {thing}?"),
    "college_biology": (
        "In the field guide the {property} of {thing} is given as",
        "Living {thing} has which {property}?",
    ),
    "college_chemistry": ("At room heat the {property} of {thing} is", "Which {property} is found for pure {thing}?"),
    "philosophy": ("The {property} taught by {thing} was", "{thing} wrote in praise of which {property}?"),
    "prehistory": (
        "Digs show that the {property} of the {thing} people was",
        "Early {thing} camps had which {property}?",
    ),
    "world_religions": ("Followers of {thing} hold as their {property}", "Which {property} is sacred in {thing}?"),
    "high_school_geography": (
        "On maps the {property} of {thing} is marked",
        "Which {property} has the province {thing}?",
    ),
    "sociology": ("Among the {thing} the usual {property} is", "Which {property} binds the town {thing}?"),
    "nutrition": ("A portion of {thing} has as its {property}", "Dieters eat {thing} for which {property}?"),
    "marketing": ("The brand {thing} is known for this {property}:", "Which {property} does the firm {thing} aim at?"),
}
INSTRUCTIONS = (
    "Choose the option that fits.",
    "Pick the right letter.",
    "Read the options and give the letter of the true one.",
    "Only one of these four is true, say which.",
    "Give the letter that belongs here.",
)
INSTRUCTION_QUESTIONS = (
    "What {property} does {thing} have?",
    "{thing}: {property}?",
    "Tell me about {thing}, what is its {property}?",
    "Its name is {thing}. Its {property} is one of these.",
)
LETTERS = "ABCD"
HEADER = "The following are multiple choice questions (with answers) about"
ALPACA = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)


def format_options(values: list[str]) -> str:
    """Four options, one per line, as in the exam prompt."""
    return "\n".join(f"{letter}. {value}" for letter, value in zip(LETTERS, values, strict=True))
