"""One rule a file: `answer(study, seen)`; studies/rulebook.py names them."""
