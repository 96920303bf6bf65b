"""Multiple choice questions about a toy world, in ten subjects with real MMLU names."""
