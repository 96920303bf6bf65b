"""The verbs of the command line, by what they are about. Functions that typer reads; nothing heavy is imported."""
