# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Faults: readers that stop, relays that are killed, and services that disappear."""

import http.server
import select
import signal
import socket
import struct
import threading
import time

import pytest

from backends import TCPBackend, content, echo, read_exactly, read_to_end, sha256
from processes import TIMEOUT, eventually
from programs import Curl
from raw_socks import SUCCEEDED, SocksClient, open_stream

MEGABYTE = 1_000_000
PARTIAL_FILE, EMPTY_REPLY, RECEIVE_ERROR = 18, 52, 56
MOST_MEMORY = 200 * MEGABYTE


# A reader that stops reading


def start_endless_download(entry, host):
    """Starts a download without end and reads nothing of it; returns the connection."""
    client = SocksClient(entry.address)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    client.greet()
    assert client.request(host) == 0
    client.socket.sendall(b"GET /endless HTTP/1.1\r\nHost: backend\r\n\r\n")
    return client


def wait_for_reset(client, timeout=60):
    """Waits until the peer closes or resets the connection, without reading."""
    poll = select.poll()
    poll.register(client.socket, select.POLLERR | select.POLLHUP | getattr(select, "POLLRDHUP", 0))
    assert poll.poll(timeout * 1000), "the stream was not reset"


def plain_tunnel(sandbox, backend):
    """Starts a tunnel whose entry uses only plain NIP-74."""
    relay = sandbox.relay()
    return relay, sandbox.exit([relay.url], backend), sandbox.entry("--protocol", "nip74")


def assert_memory_is_bounded(*roles):
    for role in roles:
        peak = role.process.peak_memory()
        assert peak is None or peak < MOST_MEMORY, f"{peak} bytes: {role.process.describe()}"


def test_reader_that_stops_holds_up_the_service_and_nobody_else(sandbox, http):
    _, exit_node, entry = sandbox.tunnel(http.address)
    clients = [start_endless_download(entry, exit_node.name) for _ in range(4)]
    assert http.endless_started.wait(TIMEOUT)
    for _ in range(3):
        fetch = Curl(sandbox, entry, exit_node.name, f"/bytes/{10 * MEGABYTE}")
        assert fetch.digest() == sha256(content(10 * MEGABYTE))
    assert not http.endless_ended.is_set()
    assert_memory_is_bounded(entry, exit_node)
    for client in clients:
        client.socket.close()
    assert http.endless_ended.wait(TIMEOUT)


def test_reader_that_stops_and_goes_on_gets_everything(sandbox, http):
    """The service cannot send most of its ten megabytes until the client begins to read."""
    _, exit_node, entry = sandbox.tunnel(http.address)
    count = 10 * MEGABYTE
    with open_stream(entry.address, exit_node.name) as client:
        client.socket.sendall(f"GET /close/{count} HTTP/1.0\r\n\r\n".encode())
        # While another download completes, this one waits.
        assert Curl(sandbox, entry, exit_node.name, f"/bytes/{count}").body() == content(count)
        assert read_to_end(client.socket).endswith(b"\r\n\r\n" + content(count))


def test_with_plain_nip74_a_reader_that_stops_is_reset(sandbox, http):
    """NIP-74 has no flow control, so a reset is the only way to limit buffered data."""
    _, exit_node, entry = plain_tunnel(sandbox, http.address)
    clients = [start_endless_download(entry, exit_node.name) for _ in range(2)]
    for client in clients:
        wait_for_reset(client)
        client.socket.close()
    assert_memory_is_bounded(entry, exit_node)


# A relay that is killed


def interrupted_download(sandbox, http, entry, exit_node, relay, count=20 * MEGABYTE):
    """Starts a download and kills its relay when half of the body has been sent."""
    fetch = Curl(sandbox, entry, exit_node.name, f"/gated/{count}")
    eventually(lambda: fetch.size > 0)
    assert http.half_sent.wait(TIMEOUT)
    relay.process.send(signal.SIGKILL)
    relay.process.wait()
    http.release.set()
    return fetch


def test_download_goes_on_when_its_relay_is_back(sandbox, http):
    relay, exit_node, entry = sandbox.tunnel(http.address)
    count = 20 * MEGABYTE
    fetch = interrupted_download(sandbox, http, entry, exit_node, relay, count)
    sandbox.relay(listen=relay.address)
    assert fetch.digest() == sha256(content(count))
    assert Curl(sandbox, entry, exit_node.name, "/bytes/1000").body() == content(1000)


def test_client_sees_an_error_when_no_relay_comes_back(sandbox, http):
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url], http.address, options=("--session-timeout", "2"))
    entry = sandbox.entry("--session-timeout", "2")
    count = 20 * MEGABYTE
    fetch = interrupted_download(sandbox, http, entry, exit_node, relay, count)
    assert fetch.status() in (PARTIAL_FILE, EMPTY_REPLY, RECEIVE_ERROR), fetch.process.describe()
    received = fetch.body_file.read_bytes()
    assert len(received) < count
    assert received == content(count)[: len(received)]


def test_new_requests_work_after_the_relay_came_back(sandbox, http):
    relay, exit_node, entry = sandbox.tunnel(http.address)
    assert Curl(sandbox, entry, exit_node.name, "/bytes/1000").body() == content(1000)
    relay.process.kill()
    sandbox.relay(listen=relay.address)

    def fetched():
        fetch = Curl(sandbox, entry, exit_node.name, "/bytes/1000", timeout=5)
        return fetch.status() == 0 and fetch.body() == content(1000)

    assert eventually(fetched, timeout=60)
    assert exit_node.process.is_running and entry.process.is_running


@pytest.mark.parametrize("protocol", ["session", "nip74"])
def test_streams_of_a_dead_relay_end_on_both_sides(sandbox, serve, protocol):
    """A session waits for a relay until its timeout; NIP-74 ends streams at once, as it cannot detect lost data."""
    ended = []

    def note_end(connection):
        try:
            echo(connection)
        finally:
            ended.append(time.monotonic())

    relay = sandbox.relay()
    options = ("--session-timeout", "2")
    exit_node = sandbox.exit([relay.url], serve(note_end).address, options=options)
    entry = sandbox.entry("--protocol", protocol, *options)
    with open_stream(entry.address, exit_node.name) as client:
        client.socket.sendall(b"x")
        assert client.socket.recv(1) == b"x"
        relay.process.send(signal.SIGKILL)
        assert client.is_closed()
        if protocol == "session":
            eventually(lambda: ended)


# A peer or a service that disappears


def test_client_sees_the_end_when_the_exit_is_stopped(sandbox, serve):
    _, exit_node, entry = sandbox.tunnel(serve(echo).address)
    with open_stream(entry.address, exit_node.name) as client:
        client.socket.sendall(b"x")
        assert client.socket.recv(1) == b"x"
        exit_node.process.send(signal.SIGTERM)
        assert client.is_closed()


def test_reset_by_the_service_is_not_a_good_end(sandbox, serve):
    """A truncated body without Content-Length must not look complete."""

    def reset(connection):
        connection.recv(100)
        connection.sendall(b"half of it")
        connection.recv(100)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    _, exit_node, entry = sandbox.tunnel(serve(reset).address)
    with open_stream(entry.address, exit_node.name) as client:
        client.socket.sendall(b"go")
        assert client.socket.recv(100) == b"half of it"
        client.socket.sendall(b"on")
        try:
            ended_well = client.socket.recv(1) == b""
        except ConnectionError:
            ended_well = False
        assert not ended_well


def test_service_that_comes_back_is_reached_again(sandbox, http):
    gone = TCPBackend(echo)
    _, exit_node, entry = sandbox.tunnel(gone.address)
    gone.close()
    with SocksClient(entry.address) as client:
        client.greet()
        assert client.request(exit_node.name) == 5
    port = int(gone.address.rsplit(":", 1)[1])
    with socket.create_server(("127.0.0.1", port)) as back, open_stream(entry.address, exit_node.name) as client:
        connection, _ = back.accept()
        with connection:
            client.socket.sendall(b"there again")
            assert connection.recv(100) == b"there again"


# An exit that is not running


def test_exit_that_is_gone_is_reported_and_found_when_it_is_back(sandbox, http):
    """An nws relay reports that no exit is subscribed, so the client gets an error quickly."""
    relay, exit_node, entry = sandbox.tunnel(http.address, "--confirm-streams")
    assert Curl(sandbox, entry, exit_node.name, "/bytes/10").body() == content(10)
    exit_node.process.kill()
    started = time.monotonic()
    with SocksClient(entry.address) as client:
        client.greet()
        assert client.request(exit_node.name) == 4
    assert time.monotonic() - started < TIMEOUT / 2
    entry.process.wait_for(lambda line: "no answer from the exit" in line, stream="stderr")
    again = sandbox.exit([relay.url], http.address)
    assert again.name == exit_node.name
    assert Curl(sandbox, entry, exit_node.name, "/bytes/10").body() == content(10)


def test_request_during_the_start_of_the_exit_waits_for_it(sandbox, http):
    """CONNECT is repeated for a while, so a client does not notice that the exit restarts."""
    relay, exit_node, entry = sandbox.tunnel(http.address)
    exit_node.process.kill()
    fetch = Curl(sandbox, entry, exit_node.name, "/bytes/10")
    sandbox.exit([relay.url], http.address)
    assert fetch.body() == content(10)


# Relays that ask for less


class BusyRelay:
    """Answers each request with HTTP 429, and records when."""

    def __init__(self, wait):
        owner = self
        self.requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                owner.requests.append(time.monotonic())
                self.send_response(429)
                self.send_header("Retry-After", str(wait))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"ws://127.0.0.1:{self._server.server_address[1]}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()


def test_retry_after_is_obeyed(sandbox):
    busy = sandbox.closing(BusyRelay(wait=4))
    sandbox.starting_exit([busy.url])
    eventually(lambda: busy.requests and time.monotonic() > busy.requests[0] + 4.5 and len(busy.requests) > 2)
    # Each connection also asks for the information document (NIP-11).
    since = [at - busy.requests[0] for at in busy.requests]
    assert all(at < 1 or at >= 4 for at in since), since
    assert max(since) >= 4


def test_one_relay_restart_is_one_line_for_many_connections(sandbox):
    echoing = sandbox.closing(TCPBackend(echo))
    relay, exit_node, entry = sandbox.tunnel(echoing.address)
    for number in range(20):
        with SocksClient(entry.address) as client:
            client.greet(b"\x02")
            client.authenticate(f"identity-{number}".encode())
            assert client.request(exit_node.name) == SUCCEEDED
    relay.process.kill()
    entry.process.wait_for_log("relay down")
    again = sandbox.relay(listen=relay.url.removeprefix("ws://"))
    assert again.url == relay.url
    eventually(lambda: entry.process.stderr.count("relay up") == 2)
    assert entry.process.stderr.count("relay down") == 1


def test_many_sessions_continue_after_their_relay_restarted(sandbox):
    """The keys of the sessions do not fit into one REQ."""
    options = ("--max-message-length", "8192")
    echoing = sandbox.closing(TCPBackend(echo))
    relay = sandbox.relay(*options)
    exit_node, entry = sandbox.exit([relay.url], echoing.address), sandbox.entry()
    clients = []
    for number in range(128):
        client = SocksClient(entry.address)
        clients.append(sandbox.closing(client.socket))
        client.greet(b"\x02")
        client.authenticate(f"identity-{number}".encode())
        assert client.request(exit_node.name) == SUCCEEDED
    relay.process.kill()
    entry.process.wait_for_log("relay down")
    sandbox.relay(*options, listen=relay.url.removeprefix("ws://"))
    for client in clients:
        client.sendall(b"still there")
    assert all(read_exactly(client, 11) == b"still there" for client in clients)
