# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Configuration from options, environment and file; reloading; and signals."""

import json
import signal
import socket
import time

import pytest

from backends import TCPBackend, echo, read_exactly
from raw_socks import NOT_ALLOWED, SUCCEEDED, open_stream, reply_to


@pytest.fixture
def echoing(sandbox):
    return sandbox.closing(TCPBackend(echo))


def check(sandbox, text, *arguments, env=None):
    """Checks a configuration file with this text; returns the exit status and standard error."""
    sandbox.write("file.yaml", text)
    process, status = sandbox.finished("exit", "--config", "file.yaml", "--check-config", *arguments, env=env)
    return status, process.stderr


GOOD = """
relay: [ws://127.0.0.1:1, "ws://127.0.0.1:2"]
service: {22: 127.0.0.1:22, 80: "unix:/tmp/x"}
max-streams: 7
early-data: true
"""


def test_a_good_file(sandbox):
    sandbox.write("file.yaml", GOOD)
    assert sandbox.succeed("exit", "--config", "file.yaml", "--check-config") [-1:] == ["configuration: ok"]
    # Checking the configuration does not create a key.
    assert not list(sandbox.home.rglob("key"))


def test_a_bad_file_is_refused_with_what_is_wrong(sandbox):
    status, said = check(sandbox, "\nmax-streams: many", "--backend", "127.0.0.1:1", "--relay", "ws://x")
    assert status == 78 and "(set by file.yaml, line 2)" in said, said


def test_options_win_over_the_environment_and_that_over_the_file(sandbox):
    def streams(*arguments, env=None):
        status, said = check(sandbox, GOOD.replace("7", "0"), *arguments, env=env)
        return said.strip().rpartition("(set by ")[2].rstrip(")") if status else "fine"

    assert streams() == "file.yaml, line 4"
    assert streams(env={"NWS_MAX_STREAMS": "0"}) == "NWS_MAX_STREAMS"
    assert streams(env={"NWS_MAX_STREAMS": "5"}) == "fine"
    assert streams("--max-streams", "5", env={"NWS_MAX_STREAMS": "0"}) == "fine"


def test_services_change_without_a_restart(sandbox, echoing):
    relay = sandbox.relay()
    file = sandbox.write("exit.yaml", f"service: {{22: {echoing.address}}}\n")
    exit_node = sandbox.exit([relay.url], None, options=("--config", "exit.yaml"))
    entry = sandbox.entry("--confirm-streams")
    with open_stream(entry.address, exit_node.name, 22) as client:
        assert reply_to(entry.address, exit_node.name, 23) == NOT_ALLOWED
        file.write_text(f"service: {{23: {echoing.address}}}\nsession-timeout: 60\n")
        exit_node.process.wait_for_log("configuration reloaded")
        exit_node.process.wait_for_log("only after a restart")
        assert "--session-timeout" in exit_node.process.stderr
        assert reply_to(entry.address, exit_node.name, 23) == SUCCEEDED
        assert reply_to(entry.address, exit_node.name, 22) == NOT_ALLOWED
        # Streams that are open continue.
        client.socket.sendall(b"still")
        assert read_exactly(client.socket, 5) == b"still"
        file.write_text("service: nonsense\n")
        exit_node.process.wait_for_log("keeping the previous configuration")
        assert reply_to(entry.address, exit_node.name, 23) == SUCCEEDED


def test_a_reload_that_failed_is_repeated_until_the_missing_file_is_there(sandbox, echoing):
    relay = sandbox.relay()
    file = sandbox.folder / "exit.yaml"
    file.write_text("log-level: info\n")
    exit_node = sandbox.exit([relay.url], echoing.address, options=("--config", str(file)))
    allowed = sandbox.folder / "allowed.txt"
    file.write_text(f"allow: [{allowed.name}]\n")
    exit_node.process.wait_for_log("keeping the previous configuration")
    allowed.write_text("")
    exit_node.process.wait_for_log("configuration reloaded")
    assert exit_node.process.stderr.count("keeping the previous configuration") == 1


def test_sighup_reloads(sandbox, echoing):
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url], echoing.address)
    exit_node.process.send(signal.SIGHUP)
    exit_node.process.wait_for_log("configuration reloaded")
    assert exit_node.process.is_running


def test_a_changed_key_needs_a_restart(sandbox, echoing):
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url], echoing.address, key_file="exit.key")
    other = sandbox.succeed("key", "generate", "--key-file", "other.key")
    assert other
    (sandbox.folder / "exit.key").write_bytes((sandbox.folder / "other.key").read_bytes())
    exit_node.process.send(signal.SIGHUP)
    exit_node.process.wait_for_log("restart the exit to use the new key")
    entry = sandbox.entry()
    assert reply_to(entry.address, exit_node.name) == SUCCEEDED


def test_a_stream_that_is_open_at_sigterm_may_finish(sandbox, echoing):
    _, exit_node, entry = sandbox.tunnel(echoing.address, "--confirm-streams")
    with open_stream(entry.address, exit_node.name) as client:
        exit_node.process.send(signal.SIGTERM)
        exit_node.process.wait_for_log("shutting down: no new streams")
        # New streams are refused, and the open one continues.
        assert reply_to(entry.address, exit_node.name) != SUCCEEDED
        client.socket.sendall(b"farewell")
        assert read_exactly(client.socket, 8) == b"farewell"
        client.socket.shutdown(socket.SHUT_WR)
        assert client.socket.recv(1) == b""
    started = time.monotonic()
    assert exit_node.process.wait() == 0
    assert time.monotonic() - started < 4


def test_a_stream_that_does_not_finish_is_ended_in_time(sandbox, echoing):
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url], echoing.address, options=("--shutdown-timeout", "1"))
    entry = sandbox.entry()
    with open_stream(entry.address, exit_node.name) as client:
        exit_node.process.send(signal.SIGTERM)
        assert exit_node.process.wait() == 0
        with pytest.raises(ConnectionResetError):
            client.socket.recv(1)


def test_a_second_signal_ends_at_once(sandbox, echoing):
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url], echoing.address, options=("--shutdown-timeout", "60"))
    entry = sandbox.entry()
    with open_stream(entry.address, exit_node.name):
        exit_node.process.send(signal.SIGTERM)
        exit_node.process.wait_for_log("stopping")
        assert exit_node.process.is_running
        exit_node.process.send(signal.SIGTERM)
        assert exit_node.process.wait() == 1


def test_log_lines_as_json(sandbox):
    relay = sandbox.relay("--log-format", "json")
    relay.process.wait_for_log("relay started")
    lines = [json.loads(line) for line in relay.process.stderr.splitlines()]
    assert lines and all({"time", "level", "message"} <= set(line) for line in lines)


def test_an_entry_says_what_takes_a_restart(sandbox):
    config = sandbox.write("entry.yaml", "optimistic: false\n")
    entry = sandbox.entry("--config", config)
    config.write_text("optimistic: true\n")
    entry.process.wait_for_log("some changes take effect only after a restart")
    assert "--optimistic" in entry.process.stderr
