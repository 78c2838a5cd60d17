#!/usr/bin/env bash
# One run on GPU nodes of a SLURM cluster:
#
#   sbatch --nodes=4 launch/slurm.sh --config=configs/celeba.py --config.train.batch_size=256
#   launch/slurm.sh --dry-run --config=configs/celeba.py     prints the srun command
#
# All arguments except --dry-run go to python -m gsjax.main, which finds the other processes itself.
# Before the time limit, and when the job is preempted, the run saves and stops and the job is
# requeued; it then resumes where it stopped. A run that fails is not restarted.
#
# Adapt to your cluster: the #SBATCH lines (partition, account, time), how the environment is
# activated, and --workdir, which must be on a file system shared by all nodes.
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
# One task per node sees all of its GPUs. For one task per GPU, use --ntasks-per-node=8 but not
# --gpus-per-task: JAX gives GPU I to task I of a node. The 180 seconds are for the last checkpoint;
# allow more on a slow file system.
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
  echo "error: this is a job script; submit it with: sbatch $0 --config=…" >&2
  exit 2
fi

# Activate your environment here.
if [[ -f .venv/bin/activate ]]; then
  # shellcheck disable=SC1091
  source .venv/bin/activate
fi

# At the time limit and at preemption, the tasks receive SIGTERM, agree on a step and save. If this
# script receives it too, it keeps waiting for them.
trap : TERM
code=0
# When one task has ended, the others have two minutes to end.
srun --wait=120 launch/task.sh python -m gsjax.main "$@" || code=$?
# Requeue only a running job: not one that was canceled, nor one that SLURM requeues itself.
if [[ "$code" == 75 && "$(scontrol show job "$SLURM_JOB_ID")" == *JobState=RUNNING* ]]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
