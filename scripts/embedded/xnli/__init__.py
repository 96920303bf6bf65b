"""Cross-lingual inference: the toy English and fourteen languages made from it."""
