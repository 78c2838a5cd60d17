#!/usr/bin/env bash
# One run on a slice of Cloud TPUs, on all of its hosts:
#
#   launch/tpu_pod.sh NAME --config=configs/celeba.py --config.train.batch_size=2048
#   launch/tpu_pod.sh --dry-run NAME --config=configs/celeba.py      prints the commands
#
# It asks for the slice and waits for it, copies this folder to all hosts, installs it, mounts the
# bucket, and runs python -m gsjax.main on all of them with the other arguments. When the slice is taken
# back, it asks for another and resumes from the last checkpoint. A mistake (exit code 2) ends it; so
# does a run that fails three times on the same slice. The slice is kept: it costs until you delete
# it with the command that is printed at the end.
#
# To change, in the environment:
#   ZONE     where                     (default us-west4-a)
#   TYPE     chips                     (default v5litepod-16: 16 chips on 4 hosts)
#   RUNTIME  software of the hosts     (default v2-alpha-tpuv5-lite; others have v6e, v5p, v4)
#   BUCKET   of Cloud Storage, in the same region, for data and runs; with hierarchical namespace, or
#            the renames that make checkpoints whole are not atomic
#   SPOT     --spot, or empty for a slice that is not taken back     (default --spot)
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
    echo "error: the first argument is the name of the slice, not $1; see --help" >&2
    exit 2
    ;;
esac
name=$1
shift
cd "$(dirname "$0")/.."
archive=${TMPDIR:-/tmp}/gsjax-$name.tgz
if [[ -z "${BUCKET:-}" ]]; then
  echo "error: set BUCKET to a bucket that all hosts can write to, for the data and the runs" >&2
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

# Returns when the slice is there and was asked for anew if need be; fails if asking fails.
have_slice() {
  if [[ -n "$dry" ]]; then
    create
    return
  fi
  while true; do
    case "$(state)" in
      ACTIVE) return ;;
      # No project, no login, a wrong zone or type: gcloud has said which.
      NONE) create || return ;;
      # Taken back, or never to be had: only a new request brings another.
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
  # What a lost connection left running would keep the chips; on SIGTERM it saves. The brackets keep
  # pkill from finding the shell that calls it.
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
  # These machines come with a Python that is too old; uv brings one.
  install="sudo mkdir -p $MOUNT && sudo chmod 777 $MOUNT && \
(mountpoint -q $MOUNT || gcsfuse --implicit-dirs $BUCKET $MOUNT) && \
mkdir -p gsjax && tar -xzf gsjax.tgz -C gsjax && cd gsjax && \
python3 -m pip install -q --user uv && python3 -m uv venv -q --allow-existing --python=3.12 .venv && \
python3 -m uv pip install -q --python=.venv/bin/python -r requirements.txt 'jax[tpu]'"
  while true; do
    have_slice || return
    code=1
    if prepare; then
      code=0
      on_all_hosts "$command" || code=$?
      if [[ -n "$dry" ]] || ((code == 0 || code == 2)); then # done, or a mistake
        return "$code"
      fi
    fi
    if [[ "$(state)" != ACTIVE ]]; then
      echo "the slice was taken back; asking for another" >&2
      tries=0
      continue
    fi
    # 75: a host was asked to stop, or has lost another; the slice's state may lag behind.
    tries=$((tries + (code != 75)))
    if ((tries == TRIES)); then
      return "$code"
    fi
    echo "ended with code $code; once more" >&2
    sleep 60
  done
}

code=0
main "$@" || code=$?
echo "the slice still costs money; to give it back:" >&2
echo "  gcloud compute tpus queued-resources delete $name --force --zone=$ZONE" >&2
exit "$code"
