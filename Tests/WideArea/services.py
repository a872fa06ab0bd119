# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""What a measured exit serves: content by HTTP on port 8080, and an echo on 8081. Prints "ready".

Arguments: the sizes of content to make before that, so that the first transfer does not wait for it.

GET /SIZE returns that many bytes, which SIZE determines. PUT returns the SHA-256 of the body in hex.
"""

import functools
import hashlib
import http.server
import random
import socket
import socketserver
import sys
import threading


@functools.cache
def content(size):
    return random.Random(size).randbytes(size)


class Pages(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self._answer(content(int(self.path.strip("/"))))

    def do_PUT(self):
        left, digest = int(self.headers["Content-Length"]), hashlib.sha256()
        while left:
            part = self.rfile.read(min(left, 65_536))
            digest.update(part)
            left -= len(part)
        self._answer(digest.hexdigest().encode())


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while part := self.request.recv(65_536):
            self.request.sendall(part)


class Echoes(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 1_024


if __name__ == "__main__":
    for size in sys.argv[1:]:
        content(int(size))
    pages = http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Pages)
    pages.daemon_threads = True
    threading.Thread(target=pages.serve_forever, daemon=True).start()
    echoes = Echoes(("0.0.0.0", 8081), Echo)
    print("ready", flush=True)
    echoes.serve_forever()
