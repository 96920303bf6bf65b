"""The data and tiny models of preset quick: generated in the shape of GLUE, WMT16, MMLU and XNLI, usable offline."""
