"""What the habits of a client cost: the figures of docs/writing_a_client.md.

    python3 bench/clients/habits.py 127.0.0.1 5000 5001 [HABIT ...]

It needs a server of its own without tasks, and prints one line per figure. Python, because its
sockets are those of the system: Deno and Node set or hide some of what is measured here.
"""

import json, socket, statistics, sys, threading, time

host, producer_port, consumer_port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def connect(port, no_delay=True):
    peer = socket.create_connection((host, port), timeout=30)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, no_delay)
    lines = peer.makefile("rb")
    if port == consumer_port:
        lines.readline()  # the greeting
    return peer, lines


def create(count, duration="1"):
    peer, lines = connect(producer_port)
    for start in range(0, count, 1000):
        names = range(start, min(start + 1000, count))
        peer.sendall("".join(f"CREATE 2 t{i} {duration}\n" for i in names).encode() + b"SYNC\n")
        lines.readline()
    peer.close()


def drain():
    """Takes all tasks, also those that the server is still creating; how many there were."""
    peer, lines = connect(consumer_port)
    count = 0
    while True:
        peer.sendall(b"REQUEST\n" * 500)
        taken = sum(lines.readline() != b"NOTASK\n" for _ in range(500))
        count += taken
        if taken == 0:
            peer.sendall(b"RESERVE 1\n")  # nothing for a second
            if (answer := lines.readline()) == b"NOTASK\n":
                peer.close()
                return count
            peer.sendall(b"COMPLETE " + answer.split(b" ")[1] + b"\n")
            count += 1


def ms(seconds):
    return f"{seconds * 1000:.2f} ms"


def writes():
    """COMPLETE and RESERVE for each task: two writes or one, with and without TCP_NODELAY."""
    for no_delay in (False, True):
        for is_split in (True, False):
            create(200)
            peer, lines = connect(consumer_port, no_delay)
            peer.sendall(b"RESERVE\n")
            took = []
            answer = lines.readline()
            while answer != b"NOTASK\n":
                complete = b"COMPLETE " + answer.split(b" ")[1] + b"\n"
                start = time.perf_counter()
                if is_split:
                    peer.sendall(complete)
                    peer.sendall(b"RESERVE\n")
                else:
                    peer.sendall(complete + b"RESERVE\n")
                answer = lines.readline()
                took.append(time.perf_counter() - start)
            peer.close()
            how = "two writes" if is_split else "one write"
            how += ", TCP_NODELAY " + ("on" if no_delay else "off")
            mean, median = ms(statistics.mean(took)), ms(statistics.median(took))
            print(f"writes: {how}: {mean} per task, median {median}")


def sync():
    """How CREATEs are confirmed: each waited for, each with its SYNC in one write, one SYNC."""
    count = 1000
    peer, lines = connect(producer_port)
    start = time.perf_counter()
    for i in range(count):
        peer.sendall(f"CREATE 2 t{i} 1\nSYNC\n".encode())
        lines.readline()
    waited = time.perf_counter() - start
    start = time.perf_counter()
    for batch in range(0, count, 100):
        peer.sendall("".join(f"CREATE 2 t{batch + i} 1\nSYNC\n" for i in range(100)).encode())
        for _ in range(100):
            lines.readline()
    pipelined = time.perf_counter() - start
    start = time.perf_counter()
    peer.sendall("".join(f"CREATE 2 t{i} 1\n" for i in range(count)).encode() + b"SYNC\n")
    lines.readline()
    one = time.perf_counter() - start
    peer.close()
    drain()
    print(f"sync: {count} tasks, each with its SYNC, one per write: {ms(waited)}")
    print(f"sync: {count} tasks, each with its SYNC, 100 per write: {ms(pipelined)}")
    print(f"sync: {count} tasks, one SYNC after them, one write: {ms(one)}")


def pieces():
    """How lines arrive: what each recv(1024) of 1,000 answers holds."""
    create(1000)
    peer, lines = connect(consumer_port)
    peer.sendall(b"REQUEST\n" * 1000)
    received, whole, cut = b"", 0, 0
    count = 0
    while received.count(b"\n") < 1000:
        data = peer.recv(1024)
        count += 1
        whole += data.count(b"\n") == 1 and data.endswith(b"\n")
        cut += not data.endswith(b"\n")
        received += data
    peer.close()
    print(f"pieces: 1000 answers came in {count} pieces", end=": ")
    print(f"{whole} held exactly one line, {cut} ended within a line")


def waiting():
    """From CREATE to ASSIGN: a consumer that asks again each second, and one that waits."""
    for command in (b"REQUEST\n", b"RESERVE 60\n"):
        took = []
        consumer, answers = connect(consumer_port)
        producer, _ = connect(producer_port)

        def take(created):
            while True:
                consumer.sendall(command)
                if answers.readline() != b"NOTASK\n":
                    took.append(time.perf_counter() - created[0])
                    return
                time.sleep(1)

        for i in range(20):
            created = [0.0]
            taking = threading.Thread(target=take, args=(created,))
            taking.start()
            time.sleep(0.05 + i * 0.05)  # at another moment of the second each time
            created[0] = time.perf_counter()
            producer.sendall(b"CREATE 2 t 1\n")
            taking.join()
            if b"RESERVE" in command:
                consumer.sendall(b"COMPLETE t\n")
        consumer.close()
        producer.close()
        mean, most = ms(statistics.mean(took)), ms(max(took))
        print(f"waiting: {command.decode().strip()}: mean {mean}, most {most}")


def closing():
    """10,000 CREATEs of which some are refused, then close() without reading, or in order."""
    for is_orderly in (False, True):
        kept = []
        for _ in range(5):
            peer, lines = connect(producer_port)
            commands = (f"CREATE {2 if i % 200 else 9} t{i} 1\n" for i in range(10_000))
            try:
                peer.sendall("".join(commands).encode())
                if is_orderly:
                    peer.shutdown(socket.SHUT_WR)
                    lines.read()
            except OSError:
                pass
            lines.close()
            peer.close()
            kept.append(drain())
        how = "half-close, then wait" if is_orderly else "close without reading"
        print(f"closing: {how}: {min(kept)} to {max(kept)} of 9950 tasks arrived")


def unread():
    """How many commands a blocking client can send without reading the answers."""
    peer, _ = connect(producer_port)
    peer.settimeout(3)
    sent = 0
    data = b"CREATE 2 t 1\nSYNC\n" * 10
    try:
        while True:
            sent += peer.send(data)
    except TimeoutError:
        print(f"unread: send() hangs after {sent // 18} times CREATE and SYNC without recv()")
    peer.close()
    drain()


def lease():
    """When a task of 0.5 s comes back that nobody completes, and when after its worker's death."""
    peer, lines = connect(consumer_port)
    other, answers = connect(consumer_port)
    create(1, "0.5")
    peer.sendall(b"RESERVE\n")
    lines.readline()
    start = time.perf_counter()
    other.sendall(b"RESERVE 60\n")
    answers.readline()
    print(f"lease: a task of 0.5 s came back after {time.perf_counter() - start:.1f} s")
    peer.sendall(b"COMPLETE t0\n")
    print(f"lease: COMPLETE of the first worker then: {lines.readline().decode().strip()}")
    peer.sendall(b"RESERVE 60\n")
    time.sleep(0.1)
    start = time.perf_counter()
    answers.close()
    other.close()
    lines.readline()
    took = ms(time.perf_counter() - start)
    print(f"lease: after the end of the connection it came back in {took}")
    peer.sendall(b"COMPLETE t0\nSYNC\n")
    lines.readline()
    peer.close()


def lines():
    """What is refused, and how much fits into a line."""
    peer, answers = connect(producer_port)

    def ask(line):
        peer.sendall(line + b"\nSYNC\n")
        replies = [answers.readline().decode().strip()]
        while not replies[-1].startswith("OK"):
            replies.append(answers.readline().decode().strip())
        return replies[0]

    for what, line in (
        ("duration 0.00001 by str()", f"CREATE 2 t {0.00001}".encode()),
        ("a name in Latin-1", "CREATE 2 t\xe2che 1".encode("latin-1")),
        ("NaN by json.dumps()", b"CREATE 2 t 1 " + json.dumps({"x": float("nan")}).encode()),
        ("a text as payload", b'CREATE 2 t 1 "text"'),
        ("JSON on three lines", b"CREATE 2 t 1 " + json.dumps({"x": 1}, indent=1).encode()),
    ):
        print(f"lines: {what}: {ask(line)}")
    peer.close()
    peer, answers = connect(producer_port)
    room = 4
    while ask(b'CREATE 2 thumb:42 3 ["' + b"x" * (room - 3) + b'"]').startswith("OK"):
        room += 1
    print(f"lines: after CREATE 2 thumb:42 3 there is room for a payload of {room} bytes")
    text = {"title": "작업" * 50}
    escaped, plain = json.dumps(text).encode(), json.dumps(text, ensure_ascii=False).encode()
    print(f"lines: 100 Korean letters: {len(escaped)} bytes, {len(plain)} with ensure_ascii=False")
    peer.close()
    drain()


habits = {f.__name__: f for f in (writes, sync, pieces, waiting, closing, lease, lines, unread)}
for name in sys.argv[4:] or habits:
    habits[name]()
