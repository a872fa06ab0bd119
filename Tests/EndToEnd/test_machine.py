# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""What the machine does to a role: few descriptors, files of other users, damaged or unwritable state files."""

import contextlib
import os
import re
import socket
import sys
import time

import pytest

from backends import echo, read_exactly
from nostr_wire import RelayConnection, signed
from plain_nip74 import PlainClient
from processes import eventually
from raw_socks import SUCCEEDED, UDP_ASSOCIATE, SocksClient, open_stream, reply_to
from sandbox import BINARY, Entry, Exit, Relay

CONFIGURATION = 78
DESCRIPTORS = 256


def with_few_descriptors(sandbox, *arguments):
    return sandbox.spawn("sh", "-c", f'ulimit -n {DESCRIPTORS}; exec "$@"', "sh", BINARY, *arguments)


@contextlib.contextmanager
def idle_connections(host, port, count):
    """Opens connections that send nothing. The server may refuse some of them."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            client = stack.enter_context(contextlib.closing(socket.socket()))
            client.settimeout(10)
            with contextlib.suppress(OSError):
                client.connect((host, port))
        yield


def processor_seconds(process):
    with open(f"/proc/{process.pid}/stat") as file:
        user, system = file.read().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def is_mostly_idle(process, seconds=2):
    """A process that tries again and again to accept a connection uses a whole processor."""
    before = processor_seconds(process)
    time.sleep(seconds)
    return processor_seconds(process) - before < seconds / 2


linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux
def test_a_relay_survives_more_connections_than_descriptors(sandbox):
    relay = Relay(with_few_descriptors(sandbox, "relay", "--listen", "127.0.0.1:0", "--max-connections-per-address", "9999"))
    relay.process.wait_for_log("the limit of open files is too low")
    host, port = relay.address.split(":")
    with RelayConnection(relay.url) as raw:
        with idle_connections(host, int(port), DESCRIPTORS + 100):
            raw.accepts(signed(sandbox.keys(), 1, "first"))
            assert is_mostly_idle(relay.process), relay.process.describe()
            raw.accepts(signed(sandbox.keys(), 1, "second"))
    with RelayConnection(relay.url) as raw:
        raw.accepts(signed(sandbox.keys(), 1, "third"))


@linux
def test_an_entry_survives_more_connections_than_descriptors(sandbox, serve):
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url], serve(echo).address)
    entry = Entry(with_few_descriptors(sandbox, "entry", "--listen", "127.0.0.1:0", "--allow-local-relays"))
    entry.process.wait_for_log("the limit of open files is too low")
    with open_stream(entry.address, exit_node.name) as client:
        with idle_connections(*entry.address, DESCRIPTORS + 100):
            client.socket.sendall(b"first")
            assert read_exactly(client.socket, 5) == b"first"
            assert is_mostly_idle(entry.process), entry.process.describe()
    eventually(lambda: works(entry, exit_node), every=0.5)


def works(entry, exit_node):
    try:
        return reply_to(entry.address, exit_node.name) == SUCCEEDED
    except (AssertionError, OSError):
        return False


@linux
def test_an_exit_survives_more_streams_than_descriptors(sandbox, serve):
    relay = sandbox.relay()
    backend = serve(echo)
    exit_node = Exit(
        with_few_descriptors(
            sandbox, "exit", "--relay", relay.url, "--backend", backend.address, "--key-file", "few.key"
        )
    )
    exit_node.process.wait_for_log("the limit of open files is too low")
    entry = sandbox.entry()
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(open_stream(entry.address, exit_node.name)).socket
        codes = set()
        for _ in range(DESCRIPTORS):
            client = stack.enter_context(SocksClient(entry.address))
            client.greet()
            codes.add(client.request(exit_node.name))
        # Those beyond the limit are refused with a reply; the exit still answers those it has.
        assert SUCCEEDED in codes and len(codes) > 1, codes
        first.sendall(b"alive")
        assert read_exactly(first, 5) == b"alive"
        assert is_mostly_idle(exit_node.process), exit_node.process.describe()
    eventually(lambda: works(entry, exit_node), every=0.5)


@pytest.mark.parametrize("name", [".env", "nws.conf", "authorized"])
def test_a_file_that_everybody_can_write_is_refused(sandbox, name):
    npub = sandbox.succeed("key", "generate", "--key-file", "k")[1].removeprefix("npub: ")
    text = {".env": "NOSTR_RELAYS=ws://127.0.0.1:9\n", "nws.conf": "", "authorized": npub + "\n"}[name]
    sandbox.write(name, text, mode=0o666)
    options = {".env": (), "nws.conf": ("--config", "nws.conf"), "authorized": ("--allow", "authorized")}[name]
    process, status = sandbox.finished(
        "exit", "--relay", "ws://127.0.0.1:9", "--backend", "127.0.0.1:9", "--key-file", "k", *options
    )
    assert status == CONFIGURATION, process.describe()
    assert re.search(f"{name}: every user of this machine can change the file; run: chmod o-w '", process.stderr)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_settings_file_of_another_user_is_refused(sandbox):
    path = sandbox.write(".env", "NOSTR_RELAYS=ws://127.0.0.1:9\n")
    os.chown(path, 12345, 12345)
    process, status = sandbox.finished("exit", "--backend", "127.0.0.1:9", "--key-file", "k")
    assert status == CONFIGURATION, process.describe()
    assert ".env: belongs to another user (uid 12345)" in process.stderr


def journal(sandbox):
    (path,) = (sandbox.home / ".local/state/nws").glob("connects-" + "[0-9a-f]" * 16)
    return path


@pytest.mark.parametrize("content", [b"", b"x" * 4000])
def test_a_damaged_replay_journal_is_refused(sandbox, content):
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url])
    exit_node.process.send(15)
    exit_node.process.wait()
    path = journal(sandbox)
    path.write_bytes(content)
    process = sandbox.starting_exit([relay.url])
    assert process.wait() == CONFIGURATION, process.describe()
    assert f"{path}: not a replay journal" in process.stderr
    path.unlink()
    sandbox.exit([relay.url])


def test_an_exit_without_a_usable_replay_journal_serves_sessions_only(sandbox, serve):
    backend = serve(echo)
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url], backend.address)
    exit_node.process.send(15)
    exit_node.process.wait()
    path = journal(sandbox)
    lock = path.with_name(path.name + ".lock")
    lock.unlink()
    lock.mkdir()
    exit_node = sandbox.exit([relay.url], backend.address)
    exit_node.process.wait_for_log("journal")
    entry = sandbox.entry()
    assert reply_to(entry.address, exit_node.name) == SUCCEEDED
    assert backend.connections == 1

    def connects():
        with PlainClient(relay.url, exit_node.pubkey, exit_node.npub) as client:
            client.connect()
            time.sleep(0.5)
            return backend.connections > 2

    with PlainClient(relay.url, exit_node.pubkey, exit_node.npub) as client:
        client.connect()
        # Messages are handled in order: a session that is opened afterwards shows that the first one was refused.
        assert reply_to(sandbox.entry().address, exit_node.name) == SUCCEEDED
    assert backend.connections == 2
    lock.rmdir()
    eventually(connects)


def test_clients_without_valid_requests_fill_no_log(sandbox):
    entry = sandbox.entry()
    for _ in range(200):
        with SocksClient(entry.address) as client:
            client.greet()
            assert client.request("example.com", command=UDP_ASSOCIATE) != SUCCEEDED
    lines = entry.process.stderr.splitlines()
    assert 0 < len(lines) < 50, entry.process.describe()
