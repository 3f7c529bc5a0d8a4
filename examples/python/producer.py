"""A producer: creates a task per file, and says which of them the server has taken.

    python3 producer.py 127.0.0.1 5000 photos/*.jpg

The task has the name of the file, priority 2, 3 seconds of work, and the file's path as payload.
Exit code 0: the server has all tasks. 1: it refused some, or it is not known whether it has them.
"""

import json
import os
import socket
import sys

BATCH = 100  # The server stops reading if we do not read: so never send thousands without reading.


def create_line(path, seconds=3.0):
    payload = json.dumps({"path": path})  # ASCII, on one line
    # Not str(seconds): for 0.00001 that is 1e-05, which the server refuses.
    line = f"CREATE 2 {os.path.basename(path)} {seconds:.6f} {payload}\n"
    # A line feed in a name would end the command, and what follows it would be the next one.
    if line.count("\n") > 1:
        sys.exit(f"not a name for a task: {path!r}")
    return line


def confirm(lines, accepted):
    """Reads up to the answer to one SYNC: whether the CREATE before it counts, and why not."""
    reason = ""
    while True:
        line = lines.readline()
        if not line.endswith(b"\n") or line == b"DONE\n":  # the server is gone, or about to go
            raise ConnectionError("the server has gone")
        word, _, rest = line.decode().rstrip("\r\n").partition(" ")
        if word == "OK":
            return int(rest) > accepted, reason
        reason = rest  # an ERROR always stands before the OK of its own line


def main(host, port, *paths):
    tasks = [(path, create_line(path)) for path in paths]
    accepted, answered = 0, 0
    try:
        with socket.create_connection((host, int(port))) as server:
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            lines = server.makefile("rb")  # readline() gathers what comes until there is a LF
            for start in range(0, len(tasks), BATCH):
                batch = tasks[start : start + BATCH]
                server.sendall("".join(line + "SYNC\n" for _, line in batch).encode())
                for path, _ in batch:
                    is_accepted, reason = confirm(lines, accepted)
                    answered += 1
                    accepted += is_accepted
                    if not is_accepted:
                        print(f"refused: {path}: {reason}", file=sys.stderr)
            server.shutdown(socket.SHUT_WR)  # no more commands; the server closes when it is done
            lines.read()
    except OSError as error:
        print(f"{error}: perhaps not created: {len(tasks) - answered} tasks", file=sys.stderr)
    print(f"created {accepted} of {len(tasks)} tasks")
    return 0 if accepted == len(tasks) else 1


sys.exit(main(*sys.argv[1:]))
