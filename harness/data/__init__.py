"""Turn rows of a task into tensors: tokenization, splits, sampling, held-out rows."""
