#!/usr/bin/env bash
# A training in the processes of a Slurm job, one on each node. Not run by us on Slurm: the tests run
# it with an `srun` of their own.
#
#   sbatch --nodes 5 examples/slurm.sh 2 --run runs/large --data my-data   # chief, 2 workers, 2 ps
#   sbatch --nodes 2 examples/slurm.sh 0 --run runs/workers --data my-data # 2 synchronous workers
#
# The first argument is the number of parameter servers; the others are those of `tfrs-npa train`,
# --run first.
# The run is on a file system that the nodes share. A job that is requeued resumes it.
#SBATCH --job-name=npa
#SBATCH --ntasks-per-node=1
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

servers=${1:?the number of parameter servers}
shift
[[ ${1-} = --run && -n ${2-} ]] || { echo 'slurm.sh: error: --run DIR has to come next' >&2; exit 2; }
run=$2
options=("$@")
if [[ -e $run/training.yaml ]]; then options=(--run "$run" --resume); fi

mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
port=$((20000 + SLURM_JOB_ID % 20000))

# Adds nodes $2 to $3 to the cluster, as the tasks of a job, and their tasks to the list.
cluster=
tasks=()
add() {
  local index addresses=
  for ((index = 0; index < $3; index++)); do
    addresses+="${addresses:+, }\"${hosts[$2 + index]}:$port\""
    tasks+=("{\"type\": \"$1\", \"index\": $index}")
  done
  cluster+="${cluster:+, }\"$1\": [$addresses]"
}
if ((servers > 0)); then
  strategy=parameter-server
  workers=$((${#hosts[@]} - 1 - servers))
  ((workers > 0)) || { echo 'slurm.sh: error: too few nodes' >&2; exit 2; }
  add chief 0 1
  add worker 1 $workers
  add ps $((1 + workers)) "$servers"
else
  strategy=multi-worker
  add worker 0 ${#hosts[@]}
fi

# Slurm numbers the processes in the order of the nodes. A worker of parameter servers that was
# killed starts again; any other end of a process is for all of them.
export CLUSTER="{$cluster}" STRATEGY=$strategy
TASKS=$(IFS=$'\n'; echo "${tasks[*]}")
export TASKS
srun --kill-on-bad-exit=0 bash -c '
  mapfile -t tasks <<<"$TASKS"
  task=${tasks[SLURM_PROCID]}
  export TF_CONFIG="{\"cluster\": $CLUSTER, \"task\": $task}"
  while true; do
    tfrs-npa train --strategy "$STRATEGY" "$@"
    code=$?
    [[ $STRATEGY = parameter-server && $task = *worker* ]] && ((code > 128)) || exit $code
  done' npa "${options[@]}"
