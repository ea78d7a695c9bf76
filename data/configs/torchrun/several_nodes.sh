#!/usr/bin/env bash
# Several machines: the same line on each of them, at about the same time. HOST is one of them, reachable by its name from all.
#   HOST=node-a NODES=4 bash data/configs/torchrun/several_nodes.sh --engine zero3 --steps 200
set -euo pipefail
: "${HOST:?the name of one of the machines}" "${NODES:?how many machines}"
gpus=$(python -c 'import torch; print(torch.cuda.device_count())')
exec torchrun --nnodes "$NODES" --nproc-per-node "${PROCESSES:-$((gpus > 0 ? gpus : 2))}" --rdzv-backend c10d --rdzv-endpoint "$HOST:${PORT:-29500}" \
  --rdzv-id "${RUN:-llmsuite}" -m llmsuite_lab.scaling.train "$@"
