#!/usr/bin/env bash
# Takes one task, runs a command for it, and completes it if the command succeeds.
#
#     bash do_one_task.sh 127.0.0.1 5001 jq -r .path
#
# The command reads the payload from its standard input, and the name and duration of the task from
# TASK and SECONDS_OF_WORK. It may take twice the task's duration and 10 s: then the task goes to
# another worker. Exit code 0: done. 1: the command failed or took too long, so the task comes
# back later. 2: no answer. 3: there was no task for 60 s.

host=$1 port=$2
shift 2
exec 3<>"/dev/tcp/$host/$port" || exit 2

# Reads the next line that is no ERROR into `line`; false if the server goes, or is silent for 90 s.
next_line() {
  while IFS= read -r -t 90 line <&3; do
    case $line in
      DONE) return 1 ;;
      ERROR*) echo "$line" >&2 ;;
      *) return 0 ;;
    esac
  done
  return 1
}

next_line || exit 2 # the greeting: Consumer<N>
printf 'RESERVE 60\n' >&3
next_line || exit 2
[ "$line" = NOTASK ] && exit 3

IFS=' ' read -r _ TASK SECONDS_OF_WORK payload <<<"$line"
export TASK SECONDS_OF_WORK
# 3>&-: otherwise the command has the connection, too, and keeps it open if this script is killed.
if printf '%s' "$payload" | "$@" 3>&-; then verb=COMPLETE; else verb=FAIL; fi

# COMPLETE and FAIL have no answer if they are accepted, and SYNC always has one. As the connection
# closes now, an unread line might destroy what was sent: so wait for it.
printf '%s %s\nSYNC\n' "$verb" "$TASK" >&3
next_line || exit 2
echo "$verb $TASK"
[ "$line" = "OK 1" ] # how many COMPLETEs count: none after FAIL, or after the end of the lease
