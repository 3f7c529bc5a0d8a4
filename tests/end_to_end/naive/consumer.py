"""A consumer as a student finishes the assignment's incomplete script: one recv a reply.

The third argument, the worker's name, is `complete` where it also says what it completed.
"""

import socket, time, sys

host = sys.argv[1]
port = int(sys.argv[2])
worker_name = sys.argv[3]
sc = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
sc.connect((host, port))
consumer_id = sc.recv(1024).decode().strip()
print(f'{consumer_id} connected', flush=True)
try:
    while True:
        sc.send(b'REQUEST\n')
        print('[REQUEST]', flush=True)
        response = sc.recv(1024).decode().strip()
        words = response.split()
        if not words or words[0] == 'DONE':
            break
        if words[0] == 'NOTASK':
            print('NOTASK', flush=True)
            time.sleep(1)
        elif words[0] == 'ASSIGN' and len(words) == 3:
            time.sleep(float(words[2]))
            print(f'[COMPLETE] {words[1]}', flush=True)
            if worker_name == 'complete':
                sc.send(f'COMPLETE {words[1]}\n'.encode())
        else:
            print(f'unexpected: {response!r}', flush=True)
            break
except KeyboardInterrupt:
    pass
sc.close()
print('exit', flush=True)
