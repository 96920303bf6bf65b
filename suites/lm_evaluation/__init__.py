"""Evaluation by lm-eval: its tasks on our rows, and our replicas behind its model interface."""
