"""Questions about LoRA-SP with their grids, and the rules that turn records into an answer. Start at `runner.run_study`."""
