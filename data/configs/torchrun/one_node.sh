#!/usr/bin/env bash
# One machine: bash data/configs/torchrun/one_node.sh --engine zero3 --steps 200
# As many processes as there are GPUs (without one: two on the CPU). PROCESSES overrules it.
set -euo pipefail
gpus=$(python -c 'import torch; print(torch.cuda.device_count())')
exec torchrun --standalone --nproc-per-node "${PROCESSES:-$((gpus > 0 ? gpus : 2))}" -m llmsuite_lab.scaling.train "$@"
