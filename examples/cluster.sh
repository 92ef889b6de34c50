#!/usr/bin/env bash
# A training in the processes of a cluster, all on this host. On several machines it is the same:
# the command marked (1) then runs on each of them, with its own TF_CONFIG (docs/distributed.md).
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: examples/cluster.sh WORKERS SERVERS --run DIR [OPTION...]

Runs `tfrs-npa train --run DIR OPTION...` on this host: with a chief, WORKERS workers and SERVERS
parameter servers; or, if SERVERS is 0, with WORKERS synchronous workers (multi-worker). Their
output goes to DIR.logs/, and that of the chief, or the first worker, is shown too. A worker of
parameter servers that was killed is started again. Ctrl-C stops all processes, and --resume
resumes the training. The exit code is that of the chief.

  examples/cluster.sh 2 1 --run runs/cluster --data mind/synthetic --preset small
  examples/cluster.sh 2 1 --run runs/cluster --resume
  examples/cluster.sh 2 0 --run runs/workers --data mind/synthetic --preset small

Environment:
  PYTHON                  the interpreter (default: python3)
  TF_NUM_INTRAOP_THREADS  threads of each process (default: the cores, shared evenly)
TEXT
}

fail() {
  echo "cluster.sh: error: $1" >&2
  exit 2
}

case ${1-} in
  -h | --help) usage; exit ;;
esac
for count in "${1-}" "${2-}"; do
  case $count in
    '' | *[!0-9]*) usage >&2; exit 2 ;;
  esac
done
workers=$1
servers=$2
shift 2
((workers > 0)) || fail 'a cluster needs a worker'

[[ ${1-} = --run && -n ${2-} ]] || fail '--run DIR is missing: the folder of the run, the first option'
run=$2

python=${PYTHON:-python3}
logs=${run%/}.logs
mkdir -p "$logs"

if ((servers > 0)); then
  strategy=parameter-server
  jobs=("chief 1" "worker $workers" "ps $servers")
else
  strategy=multi-worker
  jobs=("worker $workers")
fi
# A free port for each task: {"chief": ["127.0.0.1:40001"], ...}
cluster=$("$python" -c '
import json, socket, sys
tasks, probes = {}, []
for job, count in map(str.split, sys.argv[1:]):
    for _ in range(int(count)):
        probes.append(socket.create_server(("127.0.0.1", 0)))
        tasks.setdefault(job, []).append("127.0.0.1:%d" % probes[-1].getsockname()[1])
print(json.dumps(tasks))' "${jobs[@]}")
cores=$(getconf _NPROCESSORS_ONLN)
export TF_NUM_INTRAOP_THREADS=${TF_NUM_INTRAOP_THREADS:-$((cores > workers ? cores / workers : 1))}

chief=
worker_pids=()
pids=()  # of the other servers
finish() {
  trap - EXIT INT TERM HUP
  exec 3>&-  # or `wait` would wait for tee, which waits for the end of its input
  # Not $chief and the others: a signal may come before the last process is among them.
  kill $(jobs -p) 2>/dev/null || true
  wait
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

if ((servers > 0)); then shown=chief; else shown=worker; fi
options=("$@")

# (1) The same command in every process: TF_CONFIG says which task it is.
become() {
  TF_CONFIG="{\"cluster\": $cluster, \"task\": {\"type\": \"$1\", \"index\": $2}}" \
    exec "$python" -m tfrs_npa train --strategy $strategy "${options[@]}"
}

start_worker() {
  become worker "$1" >>"$logs/worker-$1.log" 2>&1 3>&- &
  worker_pids[$1]=$!
}

exec 3> >(tee -a "$logs/$shown-0.log")
for ((index = servers > 0 ? 0 : 1; index < workers; index++)); do start_worker $index; done
for ((index = 0; index < servers; index++)); do
  become ps $index >>"$logs/ps-$index.log" 2>&1 3>&- &
  pids+=($!)
done
become $shown 0 >&3 2>&1 3>&- &
chief=$!
exec 3>&-

alive() { kill -0 "$1" 2>/dev/null; }

while alive "$chief"; do
  sleep 0.5
  ((servers > 0)) || continue
  for index in "${!worker_pids[@]}"; do
    if alive "${worker_pids[index]}"; then continue; fi
    code=0
    wait "${worker_pids[index]}" || code=$?
    unset "worker_pids[index]"
    # Another code is an end of its own accord.
    if ((code > 128)) && alive "$chief"; then
      echo "cluster.sh: warning: worker $index was killed by signal $((code - 128)); restarted" >&2
      start_worker "$index"
    fi
  done
done
code=0
wait "$chief" || code=$?
if ((code == 0)); then
  # They end with it.
  for pid in ${worker_pids[@]+"${worker_pids[@]}"} ${pids[@]+"${pids[@]}"}; do
    wait "$pid" || code=$?
  done
fi
exit "$code"
