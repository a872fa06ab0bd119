# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""A client on a host of the network: client.py SOCKS HOST PORT WHAT NUMBER. Prints its result as JSON.

SOCKS is the address of a SOCKS5 proxy, or "-". WHAT and NUMBER:
  open N     N times: connect, send a byte, and wait for its echo. Milliseconds of each.
  echo N     N echoes of 64 bytes over one connection. Milliseconds of each.
  hold S     an echo after S seconds of silence. Its milliseconds.
  echofor S  echoes for S seconds, with pauses of 50 ms.
  get SIZE   fetch so many bytes. Seconds, whether they were right, the longest pause between two of them, and when the
             bytes after each pause of more than half a second arrived (seconds since 1970).
  put SIZE   the same for an upload. Pauses are not known.
  getfor S   fetch for S seconds. Bytes per second.
"""

import hashlib
import json
import socket
import struct
import sys
import time

import services

TIMEOUT = 300


def connect(proxy, host, port):
    if proxy == "-":
        connection = socket.create_connection((host, port), timeout=TIMEOUT)
    else:
        address, _, number = proxy.rpartition(":")
        connection = socket.create_connection((address, int(number)), timeout=TIMEOUT)
        name = host.encode()
        connection.sendall(b"\x05\x01\x00")
        receive(connection, 2)
        connection.sendall(b"\x05\x01\x00\x03" + bytes([len(name)]) + name + struct.pack(">H", port))
        reply = receive(connection, 10)
        if reply[1]:
            raise SystemExit(f"SOCKS reply {reply[1]}")
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def receive(connection, size):
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise SystemExit("the connection ended early")
        data += part
    return data


def opens(where, count):
    result = []
    for _ in range(count):
        start = time.perf_counter()
        with connect(*where) as connection:
            connection.sendall(b"x")
            receive(connection, 1)
            result.append((time.perf_counter() - start) * 1e3)
    return result


def echoes(where, is_wanted, pause):
    result = []
    with connect(*where) as connection:
        while is_wanted(len(result)):
            start = time.perf_counter()
            connection.sendall(b"y" * 64)
            receive(connection, 64)
            result.append((time.perf_counter() - start) * 1e3)
            time.sleep(pause)
    return result


def held(where, seconds):
    """An echo, silence, and another echo over the same connection. Milliseconds of the last one."""
    with connect(*where) as connection:
        connection.sendall(b"x")
        receive(connection, 1)
        time.sleep(seconds)
        start = time.perf_counter()
        connection.sendall(b"y" * 64)
        receive(connection, 64)
        return [(time.perf_counter() - start) * 1e3]


def response(connection):
    """Reads the head of an HTTP response, and nothing of its body. Returns the length of the body."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += receive(connection, 1)
    fields = dict(line.split(": ", 1) for line in data.decode().split("\r\n")[1:] if line)
    return int(fields["Content-Length"])


def get(where, size):
    start = time.perf_counter()
    with connect(*where) as connection:
        connection.sendall(f"GET /{size} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        left, digest = response(connection), hashlib.sha256()
        last, longest, resumed = time.perf_counter(), 0, []
        while left:
            part = connection.recv(min(left, 1 << 18))
            if not part:
                raise SystemExit("the connection ended early")
            now = time.perf_counter()
            longest = max(longest, now - last)
            if now - last > 0.5:
                resumed.append(time.time())
            last = now
            digest.update(part)
            left -= len(part)
    seconds = time.perf_counter() - start
    is_right = digest.digest() == hashlib.sha256(services.content(size)).digest()
    return {"seconds": seconds, "is_right": is_right, "longest_pause": longest, "resumed": resumed}


def fetch_for(where, seconds):
    with connect(*where) as connection:
        size = 50 * 1_000_000
        connection.sendall(f"GET /{size} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        start, received = time.time(), 0
        while time.time() < start + seconds and received < size:
            received += len(connection.recv(1 << 18))
        return received / (time.time() - start)


def put(where, size):
    body = services.content(size)
    digest = hashlib.sha256(body).hexdigest()
    start = time.perf_counter()
    with connect(*where) as connection:
        connection.sendall(f"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode())
        connection.sendall(body)
        answer = receive(connection, response(connection)).decode()
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "is_right": answer == digest}


def main():
    where, what, number = (sys.argv[1], sys.argv[2], int(sys.argv[3])), sys.argv[4], int(sys.argv[5])
    end = time.time() + number
    result = {
        "open": lambda: opens(where, number),
        "echo": lambda: echoes(where, lambda count: count < number, 0),
        "echofor": lambda: echoes(where, lambda _: time.time() < end, 0.05),
        "hold": lambda: held(where, number),
        "getfor": lambda: fetch_for(where, number),
        "get": lambda: get(where, number),
        "put": lambda: put(where, number),
    }[what]()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
