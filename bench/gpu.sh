#!/usr/bin/env bash
# Step time, peak memory and scoring on a ~3B-parameter Qwen2.5-VL-shaped model of random weights in bf16.
#   bash bench/gpu.sh OUT        one GPU with 80 GiB, three to four minutes
#   bash bench/gpu.sh OUT toy    seconds on a CPU: shows that it runs, says nothing about speed
set -euo pipefail
out=${1:?give a folder for the results}
size=${2:-3b}
here=$(dirname "$(realpath "$0")")
export PYTHONPATH="$here/../src:$here/../encoders${PYTHONPATH:+:$PYTHONPATH}"
mkdir -p "$out"
if [ "$size" = toy ]; then
  python "$here/gpu_step.py" --size toy --device cpu --tokens 32 --steps 2 --out "$out/gpu_step.json"
else
  python "$here/gpu_step.py" --size "$size" --out "$out/gpu_step.json"
fi
