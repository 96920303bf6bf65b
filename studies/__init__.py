"""Questions about LoRA-SP: grids, and rules that turn their records into an answer.

declared/NAME.toml -> Study -> specs, one per grid -> run -> StudyRuns -> rule -> Answer -> study.json and report

Start at `runner.run_study`.
"""
