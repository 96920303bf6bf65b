"""Questions about LoRA-SP: grids, and rules that turn their records into an answer. Start at `runner.run_study`."""
