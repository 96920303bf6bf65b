"""One rule per file, `judge(study, seen) -> Answer`; studies/rulebook.py names them."""
