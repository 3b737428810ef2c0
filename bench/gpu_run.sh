#!/usr/bin/env bash
# Both stages end to end on one device with tiny models: where every module ran, and the CPU's figures beside.
#   bash bench/gpu_run.sh OUT        on a GPU, about 100 seconds; exit 1 where something ran elsewhere
#   bash bench/gpu_run.sh OUT cpu    the same on the CPU alone: shows that it runs
set -euo pipefail
out=${1:?give a folder for the results}
device=${2:-cuda}
here=$(dirname "$(realpath "$0")")
export PYTHONPATH="$here/../src:$here/../encoders${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1
mkdir -p "$out"
python "$here/gpu_run.py" --out "$out" --device "$device"
