# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Services to reach through a tunnel, each on a free loopback port."""

import hashlib
import http.server
import random
import socket
import threading

from processes import TIMEOUT


def content(count):
    """Returns `count` pseudo-random bytes, which are the same for the same count."""
    return random.Random(count).randbytes(count)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class HTTPBackend:
    """An HTTP service for downloads and uploads.

    `/bytes/N`     N bytes with Content-Length
    `/close/N`     N bytes in HTTP/1.0, without Content-Length; the end of the connection ends the body
    `/gated/N`     half of N bytes, and the rest once `release` is set
    `/endless`     a body without end
    PUT `/upload`  answers with the SHA-256 of the body
    """

    def __init__(self):
        self.half_sent = threading.Event()
        self.release = threading.Event()
        self.endless_started = threading.Event()
        self.endless_ended = threading.Event()
        backend = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                _, kind, *rest = self.path.split("/")
                getattr(self, "serve_" + kind)(*rest)

            def do_PUT(self):
                digest = hashlib.sha256()
                left = int(self.headers["Content-Length"])
                while left:
                    piece = self.rfile.read(min(left, 1 << 16))
                    if not piece:
                        return
                    digest.update(piece)
                    left -= len(piece)
                self.respond(digest.hexdigest().encode())

            def respond(self, body):
                self.head(len(body))
                self.wfile.write(body)

            def head(self, length=None):
                self.send_response(200)
                if length is not None:
                    self.send_header("Content-Length", str(length))
                self.end_headers()

            def serve_bytes(self, count):
                self.respond(content(int(count)))

            def serve_close(self, count):
                self.protocol_version = "HTTP/1.0"
                self.close_connection = True
                self.head()
                self.wfile.write(content(int(count)))

            def serve_gated(self, count):
                body = content(int(count))
                self.head(len(body))
                self.wfile.write(body[: len(body) // 2])
                backend.half_sent.set()
                backend.release.wait(TIMEOUT * 2)
                self.wfile.write(body[len(body) // 2 :])

            def serve_endless(self):
                self.close_connection = True
                self.head()
                backend.endless_started.set()
                piece = content(1 << 16)
                try:
                    while True:
                        self.wfile.write(piece)
                finally:
                    backend.endless_ended.set()

            def log_message(self, *arguments):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request, client_address):
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.address = "127.0.0.1:%d" % self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.release.set()
        self._server.shutdown()
        self._server.server_close()


class FolderBackend:
    """Serves the files of a folder, as `python3 -m http.server` does."""

    def __init__(self, folder):
        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *arguments):
                super().__init__(*arguments, directory=str(folder))

            def log_message(self, *arguments):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = "127.0.0.1:%d" % self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class TCPBackend:
    """Runs a function on a new thread for each connection, then closes the connection."""

    def __init__(self, function):
        self._function = function
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = "127.0.0.1:%d" % self._listener.getsockname()[1]
        self._sockets = []
        self._accepted = 0
        self._probes = {}
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self):
        while True:
            try:
                connection, peer = self._listener.accept()
            except OSError:
                return
            if peer in self._probes:
                connection.close()
                self._probes[peer].set()
                continue
            self._sockets.append(connection)
            self._accepted += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    @property
    def connections(self):
        """The number of connections so far, with those that were established but not accepted yet."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            accepted = self._probes[probe.getsockname()] = threading.Event()
            # Connections are accepted in the order in which they were established.
            probe.connect(self._listener.getsockname())
            assert accepted.wait(TIMEOUT)
            del self._probes[probe.getsockname()]
        return self._accepted

    def _serve(self, connection):
        try:
            # The test may have closed it already.
            connection.settimeout(TIMEOUT * 2)
            self._function(connection)
        except OSError:
            pass
        finally:
            connection.close()

    def close(self):
        # Wakes the thread that is blocked in accept; close alone does not.
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        for connection in self._sockets:
            connection.close()


def read_exactly(connection, count):
    data = bytearray()
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            break
        data += piece
    return bytes(data)


def read_to_end(connection):
    data = bytearray()
    while piece := connection.recv(1 << 16):
        data += piece
    return bytes(data)


def echo(connection):
    """Echoes all data."""
    while piece := connection.recv(1 << 16):
        connection.sendall(piece)


def digest_after_end(connection):
    """Answers with the SHA-256 of all received data, once the peer has finished sending."""
    connection.sendall(sha256(read_to_end(connection)).encode())
