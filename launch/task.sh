#!/usr/bin/env bash
# Runs a command, like launch/task.sh python -m gsjax.main …, so that who started it can tell a stop
# from the end: asked to stop, a run saves and ends with 0, and this with 75. That is also the code of
# a run whose other processes are gone: after either, the same command resumes.
asked=""
trap 'asked=yes; kill -TERM "$run" 2> /dev/null' TERM
"$@" &
run=$!
while kill -0 "$run" 2> /dev/null; do
  wait "$run" # a signal ends the wait, not the run
done
wait "$run"
code=$?
if [[ -n "$asked" && "$code" == 0 ]]; then
  code=75
fi
exit "$code"
