#!/bin/sh
# The tuned reference run on one GPU: real GLUE, MiniLM, fourteen methods, ten seeds. Resumes where it stopped.
# usage: scripts/reference_tuned.sh DATA_DIR MODEL_DIR OUT [further options of run]
set -eu
data=$1 model=$2 out=$3
shift 3
exec python -m harness run --suite glue --preset small --model "$model" --data-dir "$data" \
    --data-file "qnli/train=$data/glue/QNLI/partial/train_random10pct.tsv" --tasks cola,mrpc,qnli,rte,sst2,stsb \
    --methods "lora,lora:rank=8,lora-fa,rslora,lorasp,lorasp:select=row|column|rank|magnitude|snip,lorasp:resample=100,head,bitfit,full" \
    --seeds 10 --train-rows 20000 --max-steps 1000 --group-by-length --dtype bf16 --margin 1 \
    --tune 6 --tune-tasks cola,stsb --tune-seeds 2 --out "$out" "$@"
