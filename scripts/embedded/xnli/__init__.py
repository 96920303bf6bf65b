"""Cross-lingual inference: the generated English and fourteen languages derived from it."""
