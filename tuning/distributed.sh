#!/usr/bin/env bash
# A search with a chief and several workers on this host. On several machines it is the same: the
# commands marked (1) and (2) then run on one machine each, with a DIR that all of them share.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: tuning/distributed.sh WORKERS --run DIR [OPTION...]

Runs `tuning/search.py --run DIR OPTION...` as a chief and WORKERS workers on this host. Their
output goes to DIR.logs/, and that of the chief is shown too. Ctrl-C stops all of them, and
--resume resumes the search. The exit code is that of the chief, or that of a worker if all workers
have ended and one of them failed.

  tuning/distributed.sh 2 --run runs/search --data mind/synthetic --space tuning/spaces/demo.yaml
  tuning/distributed.sh 2 --run runs/search --resume

Environment:
  PYTHON                  the interpreter (default: python3)
  KERASTUNER_ORACLE_IP    the address that the chief listens on (default: 127.0.0.1)
  KERASTUNER_ORACLE_PORT  its port (default: a free one)
  TF_NUM_INTRAOP_THREADS  threads of each worker (default: the cores, shared evenly)
TEXT
}

fail() {
  echo "distributed.sh: error: $1" >&2
  exit 2
}

case ${1-} in
  -h | --help) usage; exit ;;
  '' | *[!0-9]* | 0) usage >&2; exit 2 ;;
esac
workers=$1
shift

[[ ${1-} = --run && -n ${2-} ]] || fail '--run DIR is missing: the folder of the search, the first option'
run=$2

python=${PYTHON:-python3}
search=$(dirname "${BASH_SOURCE[0]}")/search.py
logs=${run%/}.logs
mkdir -p "$logs"

export KERASTUNER_ORACLE_IP=${KERASTUNER_ORACLE_IP:-127.0.0.1}
if [[ -z ${KERASTUNER_ORACLE_PORT-} ]]; then
  KERASTUNER_ORACLE_PORT=$("$python" -c '
import socket, sys
with socket.socket() as probe:
    probe.bind((sys.argv[1], 0))
    print(probe.getsockname()[1])' "$KERASTUNER_ORACLE_IP")
fi
export KERASTUNER_ORACLE_PORT
cores=$(getconf _NPROCESSORS_ONLN)
threads=${TF_NUM_INTRAOP_THREADS:-$((cores > workers ? cores / workers : 1))}

chief=
pids=()
finish() {
  trap - EXIT INT TERM HUP
  exec 3>&-  # or `wait` would wait for tee, which waits for the end of its input
  # Not $chief and $pids: a signal may come before the last process is among them.
  kill $(jobs -p) 2>/dev/null || true
  wait
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

exec 3> >(tee -a "$logs/chief.log")

# (1) The chief hands out the trials and writes the results when all have ended.
KERASTUNER_TUNER_ID=chief "$python" "$search" "$@" >&3 2>&1 3>&- &
chief=$!

# (2) A worker runs them. Its name is unique: restarted under that name, it gets its trial back.
for ((number = 1; number <= workers; number++)); do
  KERASTUNER_TUNER_ID=worker-$number TF_NUM_INTRAOP_THREADS=$threads \
    "$python" "$search" "$@" >>"$logs/worker-$number.log" 2>&1 3>&- &
  pids+=($!)
done
exec 3>&-

alive() { kill -0 "$1" 2>/dev/null; }

any_worker_alive() {
  local pid
  for pid in "${pids[@]}"; do
    if alive "$pid"; then return 0; fi
  done
  return 1
}

# A chief waits for its workers, even for those that do not come back.
while alive "$chief" && any_worker_alive; do
  sleep 1
done
if alive "$chief"; then
  for pid in "${pids[@]}"; do
    code=0
    wait "$pid" || code=$?
    if ((code != 0)); then
      echo "distributed.sh: error: all workers have ended, one with exit code $code; see $logs" >&2
      exit "$code"
    fi
  done
fi
wait "$chief"
