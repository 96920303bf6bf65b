"""Scripts that generate the data and pretrain the models of suites/embedded.

generate.py, mmlu/, wmt16/, xnli/ generate.py -> suites/embedded/data    (same seed, same bytes)
pretrain.py, mmlu/, wmt16/, xnli/ pretrain.py -> suites/embedded/models
"""
