"""A worker: takes one task after the other and works on it, until Ctrl+C (or SIGTERM).

    python3 worker.py 127.0.0.1 5001

If the server goes away, it connects again each second. A task that it held then comes back, to it
or to another worker: so each task is done at least once, and in rare cases twice.
"""

import contextlib, json, os, signal, socket, sys, time

SILENCE = 90  # seconds: RESERVE 60 is answered within 60, so after 90 the server is out of reach


def work(name, seconds, payload):
    """Your work stands here. If it raises an exception, the task has failed and comes back later.

    It may take twice the task's duration and 10 s; longer work needs TOUCH, as in worker.mjs.
    """
    if payload is None:
        return time.sleep(seconds)
    print(f"{payload['path']} has {os.path.getsize(payload['path'])} bytes")


def answer(lines):
    """The next line, but for ERRORs, which may come at any time and refuse an earlier command."""
    while (line := lines.readline().decode()).startswith("ERROR"):
        print(line, end="", file=sys.stderr)
    if line == "DONE\n" or not line.endswith("\n"):  # a line without LF was cut off
        raise ConnectionError("the server has gone")
    return line[:-1]


def take_tasks(server, lines):
    print(answer(lines), "connected", flush=True)
    end = ""
    while True:
        # One write for both: of two, the second would wait 40 ms for the TCP of the server.
        server.sendall(f"{end}RESERVE 60\n".encode())
        # At spaces alone: split() would also split a name at a no-break space.
        word, *fields = answer(lines).split(" ", 3)
        end = ""
        if word != "ASSIGN":  # NOTASK
            continue
        name, duration = fields[:2]
        try:
            work(name, float(duration), json.loads(fields[2]) if len(fields) > 2 else None)
            end = f"COMPLETE {name}\n"
        except Exception as error:
            print(f"{name} failed: {error!r}", file=sys.stderr)
            end = f"FAIL {name}\n"
        except KeyboardInterrupt:
            with contextlib.suppress(OSError):  # back at once, and not counted as a failure
                server.sendall(f"RELEASE {name}\n".encode())
            raise
        print(end, end="", flush=True)


def main(host, port):
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    while True:
        try:
            with socket.create_connection((host, int(port)), timeout=SILENCE) as server:
                server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                lines = server.makefile("rb")  # readline() gathers what comes until there is a LF
                try:
                    take_tasks(server, lines)
                except KeyboardInterrupt:
                    with contextlib.suppress(OSError):
                        server.settimeout(2)
                        server.shutdown(socket.SHUT_WR)  # the server reads all that was sent,
                        lines.read()  # and closes
                    raise
        except OSError as error:
            print(f"{error}: connecting again", file=sys.stderr)
            time.sleep(1)


with contextlib.suppress(KeyboardInterrupt):
    main(*sys.argv[1:])
