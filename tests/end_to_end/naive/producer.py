"""A producer as a student finishes the assignment's incomplete script: one send a task."""

import socket, time, sys

host = sys.argv[1]
port = int(sys.argv[2])
task_file = sys.argv[3]
sc = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
sc.connect((host, port))
tasks = [line.split() for line in open(task_file) if line.strip()]

start = time.time()
for timestamp, priority, task_id, duration in tasks:
    time.sleep(max(0.0, start + float(timestamp) - time.time()))
    sc.send(f'CREATE {priority} {task_id} {duration}\n'.encode())
    print(f'[CREATE] {priority} {task_id} {duration}', flush=True)
sc.close()
print('exit', flush=True)
