#!/bin/sh
# The reference run on one GPU: real GLUE, MiniLM, four methods, five seeds. Resumes where it stopped.
# usage: scripts/reference_glue.sh DATA_DIR MODEL_DIR OUT
set -eu
exec python -m harness run --suite glue --methods lora,lorasp,full,head --preset small --model "$2" --data-dir "$1" \
    --tasks cola,mrpc,stsb,rte,sst2 --seeds 5 --out "$3"
