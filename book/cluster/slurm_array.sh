#!/usr/bin/env bash
# Each task of the array computes every 16th cell. From the project's folder, after `make setup`:
#   sbatch book/cluster/slurm_array.sh
# What follows the script's name is passed on; for GPUs: sbatch --gres=gpu:1 book/cluster/slurm_array.sh --device cuda
#SBATCH --job-name=infocap
#SBATCH --array=0-15
#SBATCH --cpus-per-task=1
#SBATCH --mem=8G
#SBATCH --time=12:00:00
#SBATCH --output=slurm-%x-%A_%a.log
#SBATCH --requeue
set -euo pipefail
.venv/bin/python -m infocap sweep --profile full --store store --jobs "$SLURM_CPUS_PER_TASK" \
  --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" "$@"
