# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""How relay, exit and entry start, recover and shut down."""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import threading
import time

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as websocket
from websockets.sync.server import serve as websocket_server

from backends import TCPBackend, echo
from processes import TIMEOUT
from programs import Curl, needed
from raw_socks import HOST_UNREACHABLE, open_stream, reply_to
from sandbox import BINARY, unused_port

UNAVAILABLE = 69
SHUTDOWN = 5


# Readiness


def test_relay_prints_one_line_and_listens_by_then(sandbox):
    relay = sandbox.relay()
    with websocket(relay.url):
        assert relay.process.keys() == ["relay"]


def test_entry_prints_one_line_and_listens_by_then(sandbox):
    entry = sandbox.entry()
    with socket.create_connection(entry.address):
        assert entry.process.keys() == ["socks"]


def test_exit_prints_four_lines(sandbox):
    exit_node = sandbox.exit([sandbox.relay().url])
    assert exit_node.process.keys() == ["pubkey", "npub", "name", "nprofile"]


def test_port_zero_takes_a_free_port(sandbox):
    first, second = sandbox.relay(), sandbox.relay()
    assert first.url != second.url
    assert not first.url.endswith(":0")


def test_relay_and_entry_listen_on_ipv6(sandbox):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("there is no IPv6 on loopback")
    relay = sandbox.relay(listen="[::1]:0")
    assert relay.url.startswith("ws://[::1]:")
    with websocket(relay.url):
        pass
    entry = sandbox.entry(listen="[::1]:0")
    assert entry.socks.startswith("[::1]:")
    socket.create_connection(entry.address).close()


def test_exit_is_not_ready_before_a_relay_took_its_subscription(sandbox):
    asked = threading.Event()

    def refuse(connection):
        try:
            for text in connection:
                if text.startswith('["REQ",'):
                    subscription = text.split('"')[3]
                    connection.send(f'["CLOSED","{subscription}","restricted: not here"]')
                    asked.set()
        except ConnectionClosed:
            pass

    with websocket_server(refuse, "127.0.0.1", 0, compression=None) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        process = sandbox.starting_exit(["ws://127.0.0.1:%d" % server.socket.getsockname()[1]])
        assert asked.wait(TIMEOUT), process.describe()
        assert process.is_running and process.stdout == []
        server.shutdown()


def test_exit_is_ready_with_one_of_two_relays(sandbox):
    relay = sandbox.relay()
    exit_node = sandbox.exit([f"ws://127.0.0.1:{unused_port()}", relay.url])
    assert exit_node.process.is_running


def test_exit_logs_its_name_as_domain(sandbox):
    exit_node = sandbox.exit([sandbox.relay().url])
    assert exit_node.process.wait_for_log(f"name={exit_node.name}")


def test_entry_needs_no_relay_but_a_name_without_relays_does(sandbox):
    exit_node = sandbox.exit([sandbox.relay().url])
    entry = sandbox.entry()
    assert reply_to(entry.address, exit_node.npub) == HOST_UNREACHABLE
    assert entry.process.wait_for_log("relay")


# Relays that come and go


def test_exit_waits_for_a_relay_that_starts_later(sandbox):
    address = f"127.0.0.1:{unused_port()}"
    exit_process = sandbox.starting_exit([f"ws://{address}"])
    exit_process.wait_for_log("exit starting")
    assert exit_process.stdout == []
    sandbox.relay(listen=address)
    assert exit_process.value("name")


def test_killed_relay_starts_again_on_its_port_at_once(sandbox, http):
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url], http.address)
    entry = sandbox.entry()
    assert len(Curl(sandbox, entry, exit_node.name, "/bytes/1000").body()) == 1000
    relay.process.kill()
    assert sandbox.relay(listen=relay.address).url == relay.url


# One exit per key


def test_second_exit_with_the_same_key_file_is_refused(sandbox):
    relay = sandbox.relay()
    first = sandbox.exit([relay.url])
    second = sandbox.starting_exit([relay.url])
    assert second.wait() == UNAVAILABLE
    assert second.stdout == []
    assert first.process.is_running


def test_second_exit_with_the_state_file_is_refused(sandbox):
    relay = sandbox.relay()
    sandbox.exit([relay.url], key_file=None)
    assert sandbox.starting_exit([relay.url], key_file=None).wait() == UNAVAILABLE


def test_exit_starts_with_the_key_file_of_one_that_was_killed(sandbox):
    relay = sandbox.relay()
    first = sandbox.exit([relay.url])
    first.process.send(signal.SIGKILL)
    first.process.wait()
    assert sandbox.exit([relay.url]).pubkey == first.pubkey


# Shutdown

signals = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)


def ends_well(process, number, patience=0):
    started = time.monotonic()
    process.send(number)
    assert process.wait(SHUTDOWN * 2 + patience) == 0, process.describe()
    assert time.monotonic() - started < SHUTDOWN + patience


@signals
def test_relay_ends_on_a_signal(sandbox, number):
    relay = sandbox.relay()
    with websocket(relay.url):
        ends_well(relay.process, number)


@signals
def test_exit_ends_on_a_signal(sandbox, number):
    ends_well(sandbox.exit([sandbox.relay().url]).process, number)


@signals
def test_exit_that_is_not_ready_ends_on_a_signal(sandbox, number):
    process = sandbox.starting_exit([f"ws://127.0.0.1:{unused_port()}"])
    process.wait_for_log("exit starting")
    ends_well(process, number)
    assert process.stdout == []


def test_exit_ends_on_a_signal_at_any_moment_of_its_start(sandbox):
    url = f"ws://127.0.0.1:{unused_port()}"
    for delay in range(0, 160, 8):
        process = sandbox.starting_exit([url])
        # The moment within the start is what is tested.
        time.sleep(delay / 1000)
        process.send(signal.SIGTERM)
        status = process.wait(SHUTDOWN)
        # Before the process handles signals, the signal itself ends it.
        assert status in (0, -signal.SIGTERM), process.describe()


@signals
def test_entry_ends_on_a_signal(sandbox, number):
    ends_well(sandbox.entry().process, number)


@pytest.mark.parametrize("role", ["relay", "exit", "entry"])
def test_each_role_ends_with_a_stream_open(sandbox, serve, role):
    relay, exit_node, entry = sandbox.tunnel(serve(echo).address)
    with open_stream(entry.address, exit_node.name) as client:
        client.socket.sendall(b"x")
        assert client.socket.recv(1) == b"x"
        ends_well({"relay": relay, "exit": exit_node, "entry": entry}[role].process, signal.SIGTERM, patience=5)


def test_a_log_that_nobody_reads_does_not_stop_the_traffic(sandbox, http):
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url], http.address)
    reader, writer = os.pipe()
    # The smallest pipe: log lines have rate limits, so a larger one would not be full on a fast machine.
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4_096)
    entry = subprocess.Popen(
        [BINARY, "entry", "--listen", "127.0.0.1:0", "--allow-local-relays", "--log-level", "trace"],
        stdout=subprocess.PIPE, stderr=writer, env=sandbox.environment, cwd=sandbox.folder, text=True,
    )  # fmt: skip
    try:
        socks = entry.stdout.readline().removeprefix("socks: ").strip()

        def fetch():
            url = f"http://{exit_node.name}/bytes/1000"
            result = subprocess.run([needed("curl"), "-sSf", "--max-time", "10", "-o", os.devnull, "--socks5-hostname", socks, url])
            assert result.returncode == 0

        for _ in range(200):
            fetch()
        # When the log is read again, the next line says how many are missing.
        os.set_blocking(reader, False)
        text, deadline = b"", time.monotonic() + 20
        while b"log lines were left out" not in text and time.monotonic() < deadline:
            with contextlib.suppress(BlockingIOError):
                text += os.read(reader, 1 << 16)
            fetch()
        assert b"log lines were left out" in text
        # The last lines are not read. The entry must end soon nevertheless.
        started = time.monotonic()
        entry.terminate()
        assert entry.wait(10) == 0
        assert time.monotonic() - started < 4
    finally:
        entry.kill()
        os.close(reader)
        os.close(writer)


def test_a_second_signal_ends_streams_at_once_and_tells_the_peer(sandbox):
    backend = sandbox.closing(TCPBackend(echo))
    relay = sandbox.relay()
    node = sandbox.exit([relay.url], backend.address, options=("--shutdown-timeout", "60"))
    entry = sandbox.entry()
    stream = open_stream(entry.address, node.name, 80).socket
    stream.sendall(b"x")
    assert stream.recv(1) == b"x"
    node.process.send(signal.SIGINT)
    node.process.wait_for_log("shutting down")
    assert node.process.is_running
    node.process.send(signal.SIGINT)
    node.process.wait(10)
    # The client learns it from the exit, and does not have to wait for a timeout.
    entry.process.wait_for_log("reason=shutting-down")


def test_check_config_looks_at_files_and_services(sandbox, http):
    relay = ["--relay", "ws://127.0.0.1:9"]
    lines = sandbox.succeed("exit", *relay, "--backend", http.address, "--check-config")
    assert lines == ["configuration: ok"]
    lines = sandbox.succeed("exit", *relay, "--service", f"22=127.0.0.1:{unused_port()}", "--check-config")
    assert lines[0].startswith("warning: service 22: cannot connect to 127.0.0.1:") and lines[1] == "configuration: ok"
    process, status = sandbox.finished("exit", *relay, "--backend", http.address, "--audit-log", "no/log", "--check-config")
    assert status == 78 and "error: --audit-log: the folder" in process.output
    process, status = sandbox.finished("relay", "--store", "no/store.db", "--check-config")
    assert status == 78 and "error: --store: the folder" in process.output


def test_a_relay_that_always_disconnects_does_not_fill_the_log(sandbox):
    server = sandbox.closing(Closing(websocket_server(lambda connection: None, "127.0.0.1", 0)))
    process = sandbox.starting_exit([f"ws://127.0.0.1:{server.port}"])
    process.wait_for_log("relay connection is unstable", timeout=60)
    lines = [line for line in process.stderr.splitlines() if "relay up" in line or "relay down" in line]
    assert len(lines) == 4, process.stderr
    assert process.stderr.count("no relay is reachable") == 1


class Closing:
    """A WebSocket server in a thread."""

    def __init__(self, server):
        self.server = server
        self.port = server.socket.getsockname()[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
