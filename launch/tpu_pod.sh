#!/usr/bin/env bash
# One run on all hosts of a Cloud TPU slice:
#
#   launch/tpu_pod.sh NAME --config=configs/celeba.py --config.train.batch_size=2048
#   launch/tpu_pod.sh --dry-run NAME --config=configs/celeba.py      prints the commands
#
# Requests the slice and waits for it, copies this folder to all hosts, installs it, mounts the bucket,
# and runs python -m gsjax.main on all hosts with the remaining arguments. When the slice is preempted,
# requests another and resumes from the last checkpoint. Stops at a usage error (exit code 2), and when
# a run has failed three times on the same slice. Does not delete the slice: it costs money until you
# delete it with the command that is printed at the end.
#
# Environment variables:
#   ZONE     the zone                  (default us-west4-a)
#   TYPE     the accelerator type      (default v5litepod-16: 16 chips on 4 hosts)
#   RUNTIME  the software version      (default v2-alpha-tpuv5-lite; v6e, v5p and v4 have their own)
#   BUCKET   a Cloud Storage bucket in the same region, for data and runs, with hierarchical namespace
#            (otherwise the renames that complete a checkpoint are not atomic)
#   SPOT     --spot, or empty for a slice that is not preempted      (default --spot)
set -euo pipefail

ZONE=${ZONE:-us-west4-a}
TYPE=${TYPE:-v5litepod-16}
RUNTIME=${RUNTIME:-v2-alpha-tpuv5-lite}
SPOT=${SPOT---spot}
MOUNT=/mnt/gsjax
TRIES=3

usage() { sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "$0"; }

dry=""
arguments=()
for argument in "$@"; do
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
case "${1:-}" in
  "")
    usage
    exit 0
    ;;
  -*)
    echo "error: the first argument must be the name of the slice, not $1; see --help" >&2
    exit 2
    ;;
esac
name=$1
shift
cd "$(dirname "$0")/.."
archive=${TMPDIR:-/tmp}/gsjax-$name.tgz
if [[ -z "${BUCKET:-}" ]]; then
  echo "error: set BUCKET to a bucket for data and runs that all hosts can write to" >&2
  exit 2
fi
if [[ -z "$dry" ]] && ! command -v gcloud > /dev/null; then
  echo "error: gcloud is not installed; --dry-run prints the commands" >&2
  exit 2
fi

do_or_print() {
  if [[ -n "$dry" ]]; then
    printf '%q ' "$@"
    printf '\n'
  else
    "$@"
  fi
}

tpu() { do_or_print gcloud compute tpus "$@" --zone="$ZONE"; }

state() {
  gcloud compute tpus queued-resources describe "$name" --zone="$ZONE" \
    --format='value(state.state)' 2> /dev/null || echo NONE
}

# Waits for the slice, and requests it if necessary. Fails if a request fails.
wait_for_slice() {
  if [[ -n "$dry" ]]; then
    create
    return
  fi
  while true; do
    case "$(state)" in
      ACTIVE) return ;;
      # On failure (no project, no login, wrong zone or type), gcloud has printed the reason.
      NONE) create || return ;;
      # Preempted, or never granted: only a new request helps.
      SUSPENDING | SUSPENDED | FAILED) delete ;;
      *) ;;
    esac
    sleep 30
  done
}

create() {
  # shellcheck disable=SC2086  # SPOT may be empty
  tpu queued-resources create "$name" --node-id="$name" --accelerator-type="$TYPE" \
    --runtime-version="$RUNTIME" $SPOT
}

delete() { tpu queued-resources delete "$name" --force --quiet; }

on_all_hosts() { tpu tpu-vm ssh "$name" --worker=all --command="$1"; }

prepare() {
  # A run left over from a lost connection would hold the chips; on SIGTERM it saves. The brackets keep
  # pkill from matching the shell that calls it.
  on_all_hosts "while pkill -TERM -f '[g]sjax.main'; do sleep 5; done" &&
    do_or_print tar -czf "$archive" --exclude=__pycache__ gsjax configs launch requirements.txt &&
    tpu tpu-vm scp "$archive" "$name:gsjax.tgz" --worker=all &&
    on_all_hosts "$install"
}

main() {
  local arguments command install code tries
  printf -v arguments ' %q' "$@"
  if [[ " $* " != *" --workdir="* ]]; then
    arguments+=" --workdir=$MOUNT/runs/$name"
  fi
  command="cd gsjax && GSJAX_CACHE=$MOUNT/cache launch/task.sh \
.venv/bin/python -m gsjax.main$arguments"
  tries=0
  # The hosts' Python is too old; uv installs a newer one.
  install="sudo mkdir -p $MOUNT && sudo chmod 777 $MOUNT && \
(mountpoint -q $MOUNT || gcsfuse --implicit-dirs $BUCKET $MOUNT) && \
mkdir -p gsjax && tar -xzf gsjax.tgz -C gsjax && cd gsjax && \
python3 -m pip install -q --user uv && python3 -m uv venv -q --allow-existing --python=3.12 .venv && \
python3 -m uv pip install -q --python=.venv/bin/python -r requirements.txt 'jax[tpu]'"
  while true; do
    wait_for_slice || return
    code=1
    if prepare; then
      code=0
      on_all_hosts "$command" || code=$?
      if [[ -n "$dry" ]] || ((code == 0 || code == 2)); then # done, or a usage error
        return "$code"
      fi
    fi
    if [[ "$(state)" != ACTIVE ]]; then
      echo "the slice was preempted; requesting another" >&2
      tries=0
      continue
    fi
    # 75: a host was stopped, or lost another host; the state of the slice may lag behind.
    tries=$((tries + (code != 75)))
    if ((tries == TRIES)); then
      return "$code"
    fi
    echo "exited with code $code; retrying" >&2
    sleep 60
  done
}

code=0
main "$@" || code=$?
echo "the slice still costs money; to delete it:" >&2
echo "  gcloud compute tpus queued-resources delete $name --force --zone=$ZONE" >&2
exit "$code"
