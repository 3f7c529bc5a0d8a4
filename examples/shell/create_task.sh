#!/usr/bin/env bash
# Creates one task, and waits until the server has it (with --store: has it on disk).
#
#     bash create_task.sh 127.0.0.1 5000 1 thumb:42 3 '{"path": "/in/42.jpg"}'
#
# Arguments: host, port, priority, name, seconds, and a payload if the task has one.
# Exit code 0: created. 1: refused. 2: no answer, so it is not known whether it was created.

host=$1 port=$2
shift 2
task="$*"
# A line feed in it would end the command, and what follows would be the next one.
case $task in *$'\n'*) echo "a task is one line" >&2 && exit 1 ;; esac

exec 3<>"/dev/tcp/$host/$port" || exit 2
printf 'CREATE %s\nSYNC\n' "$task" >&3

# CREATE has no answer of its own if it is accepted: the OK of SYNC counts it.
while IFS= read -r -t 30 line <&3; do
  case $line in
    "OK 1") echo "created: $task" && exit 0 ;;
    "OK 0") exit 1 ;;
    DONE) break ;; # the server is about to go
    *) echo "$line" >&2 ;; # an ERROR comes before the OK of its own line
  esac
done
echo "no answer: perhaps not created: $task" >&2
exit 2
