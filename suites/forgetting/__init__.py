"""Texts that no suite trains on, for the loss before and after fine-tuning.

passage.txt   English prose, written for this project
facts.txt     statements in the words of the embedded causal model (scripts/embedded/mmlu/forgetting_text.py)
"""
