#!/usr/bin/env bash
# Runs a command, as in launch/task.sh python -m gsjax.main …, so that its caller can tell a stopped
# run from a finished one. On SIGTERM, a run saves and exits with 0, and this script with 75. A run
# that loses its other processes also exits with 75. After either, the same command resumes.
stopping=""
trap 'stopping=yes; kill -TERM "$run" 2> /dev/null' TERM
"$@" &
run=$!
while kill -0 "$run" 2> /dev/null; do
  wait "$run" # a signal interrupts wait, not the run
done
wait "$run"
code=$?
if [[ -n "$stopping" && "$code" == 0 ]]; then
  code=75
fi
exit "$code"
