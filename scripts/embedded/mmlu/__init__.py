"""Multiple-choice questions about invented facts, in ten subjects with real MMLU names."""
