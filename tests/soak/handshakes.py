"""Connects, asks for TLS, shakes hands and leaves, so many times a second, until its standard input ends; prints how often."""

import socket
import ssl
import struct
import sys
import threading
import time

THREADS = 8

port, authority, per_second = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
context = ssl.create_default_context(cafile=authority)
begun = time.monotonic()
ended = threading.Event()
done = [0] * THREADS
faults = []


def shake_hands() -> None:
    plain = socket.create_connection(("127.0.0.1", port))
    plain.sendall(struct.pack("!II", 8, 80877103))
    if plain.recv(1) != b"S":
        raise RuntimeError("there is no TLS")
    context.wrap_socket(plain, server_hostname="localhost").close()


def run(thread: int) -> None:
    while True:
        due = begun + (done[thread] * THREADS + thread) / per_second
        if ended.wait(max(0.0, due - time.monotonic())):
            return
        try:
            shake_hands()
        except Exception as fault:
            faults.append(fault)
            return
        done[thread] += 1


threads = [threading.Thread(target=run, args=(n,)) for n in range(THREADS)]
for one in threads:
    one.start()
sys.stdin.read()
ended.set()
for one in threads:
    one.join()
if faults:
    sys.exit(str(faults[0]))
print(sum(done))
