"""Train and score one pack."""
