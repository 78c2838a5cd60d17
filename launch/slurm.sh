#!/usr/bin/env bash
# One run on GPU nodes of a SLURM cluster:
#
#   sbatch --nodes=4 launch/slurm.sh --config=configs/celeba.py --config.train.batch_size=256
#   launch/slurm.sh --dry-run --config=configs/celeba.py     prints the step's command
#
# All arguments but --dry-run go to python -m gsjax.main, which finds the other processes by itself.
# Before the time limit and when the job is preempted the run saves and stops, and the job goes back
# into the queue; from there it resumes where it stopped. A run that fails is not started again.
#
# To change: the lines below, as your cluster asks (partition, account, time), how the environment is
# entered, and where runs lie: --workdir must be on a file system that all nodes share.
#
#SBATCH --job-name=gsjax
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@180
# One task a node, which sees all its GPUs; or one a GPU, with --ntasks-per-node=8, but then without
# --gpus-per-task: JAX gives task I of a node its GPU I. 180 seconds are for the last checkpoint: more
# for a slow file system.
set -euo pipefail

usage() { sed -n '2,/^#SBATCH/{/^#SBATCH/d;s/^# \{0,1\}//;p}' "$0"; }

dry=""
arguments=()
for argument in "${@:---help}"; do
  case "$argument" in
    --dry-run) dry=yes ;;
    -h | --help)
      usage
      exit 0
      ;;
    *) arguments+=("$argument") ;;
  esac
done
set -- ${arguments[@]+"${arguments[@]}"}
if [[ -n "$dry" ]]; then
  printf 'srun --wait=120 launch/task.sh python -m gsjax.main'
  printf ' %q' "$@"
  printf '\n'
  exit 0
fi

if [[ -z "${SLURM_JOB_ID:-}" ]]; then
  echo "error: this is a job's script: sbatch $0 --config=…" >&2
  exit 2
fi

# The environment; change it to yours.
if [[ -f .venv/bin/activate ]]; then
  # shellcheck disable=SC1091
  source .venv/bin/activate
fi

# At the time limit and at preemption SIGTERM is for the tasks, which agree on a step and save. If it
# is sent to this script too, the step's end is waited for.
trap : TERM
code=0
# When one task has ended, the others have two minutes.
srun --wait=120 launch/task.sh python -m gsjax.main "$@" || code=$?
# A job that was canceled stays canceled, and one that SLURM puts back itself needs no more.
if [[ "$code" == 75 && "$(scontrol show job "$SLURM_JOB_ID")" == *JobState=RUNNING* ]]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
