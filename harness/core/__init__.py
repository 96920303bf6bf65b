"""Values and contracts: what every other folder builds on. Never imports torch."""
