"""A server as a student finishes the assignment's incomplete script.

Arguments: what ends a greeting and what ends an answer, each `lf` or `nothing`.
It splits what producers send at LF, takes each recv from a consumer for one command, and prints
every recv as it came: `producers` or `consumers`, then the bytes as a Python literal.
"""

import heapq, socket, sys
from threading import Lock, Thread

greeting_end = '\n' if sys.argv[1] == 'lf' else ''
answer_end = '\n' if sys.argv[2] == 'lf' else ''
tasks = []
lock = Lock()


def setup_socket():
    sc = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sc.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sc.bind(('127.0.0.1', 0))
    sc.listen(5)
    return sc


def show(port, data):
    with lock:
        print(port, data, flush=True)


def producer_worker(conn):
    buffer = ''
    while True:
        data = conn.recv(1024)
        show('producers', data)
        if not data:
            break
        buffer += data.decode()
        *lines, buffer = buffer.split('\n')
        for line in lines:
            verb, priority, task_id, duration = line.split()
            with lock:
                heapq.heappush(tasks, (int(priority), len(tasks), task_id, duration))
    conn.close()


def consumer_worker(conn, number):
    conn.send(f'Consumer{number}{greeting_end}'.encode())
    while True:
        data = conn.recv(1024)
        show('consumers', data)
        if not data:
            break
        if data.decode().strip() == 'REQUEST':
            with lock:
                task = heapq.heappop(tasks) if tasks else None
            answer = 'NOTASK' if task is None else f'ASSIGN {task[2]} {task[3]}'
            conn.send((answer + answer_end).encode())
    conn.close()


def accept_consumers(sc):
    number = 0
    while True:
        conn, _ = sc.accept()
        number += 1
        Thread(target=consumer_worker, args=(conn, number), daemon=True).start()


producers = setup_socket()
consumers = setup_socket()
print('listening', producers.getsockname()[1], consumers.getsockname()[1], flush=True)
Thread(target=accept_consumers, args=(consumers,), daemon=True).start()
while True:
    conn, _ = producers.accept()
    Thread(target=producer_worker, args=(conn,), daemon=True).start()
