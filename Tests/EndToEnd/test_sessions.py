# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Sessions between two nws nodes over relays that are killed, lose or reorder events, or are hostile."""

import json
import signal
import socket
import sys
import threading
import time

import pytest

from backends import TCPBackend, content, echo, read_exactly, sha256
from nostr_wire import RelayConnection
from plain_nip74 import KIND, PlainClient
from processes import eventually
from programs import Curl
from raw_socks import REFUSED, SUCCEEDED, SocksClient, open_stream, reply_to
from sandbox import HERE, Relay

MEGABYTE = 1_000_000


def weather(sandbox, relay, *options):
    """Starts a faulty proxy (weather.py) in front of the relay; returns the proxy."""
    return Relay(sandbox.spawn(sys.executable, HERE / "weather.py", relay.url, *options))


class Restarts:
    """Kills and restarts the relays in turn, for the duration of a `with` block."""

    def __init__(self, sandbox, relays):
        self.sandbox = sandbox
        self.relays = list(relays)
        self.count = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._stop.wait(0.3):
            index = self.count % len(self.relays)
            relay = self.relays[index]
            relay.process.send(signal.SIGKILL)
            relay.process.wait()
            self._stop.wait(0.3)
            self.relays[index] = self.sandbox.relay(listen=relay.address)
            self.count += 1

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._stop.set()
        self._thread.join()


# Relays that are killed, lose events or reorder them


def test_transfers_survive_relays_that_are_killed_in_turn(sandbox, http):
    relays = [sandbox.relay() for _ in range(3)]
    exit_node = sandbox.exit([relay.url for relay in relays], http.address)
    entry = sandbox.entry("--protocol", "session")
    count = 100 * MEGABYTE
    body = content(count)
    file = sandbox.folder / "upload"
    file.write_bytes(body)
    with Restarts(sandbox, relays) as restarts:
        fetch = Curl(sandbox, entry, exit_node.name, f"/bytes/{count}")
        assert fetch.digest() == sha256(body)
        put = Curl(sandbox, entry, exit_node.name, "/upload", "-T", file)
        assert put.body().decode() == sha256(body)
        eventually(lambda: restarts.count >= 3)


def test_download_survives_the_restart_of_its_only_relay(sandbox, http):
    relay, exit_node, entry = sandbox.tunnel(http.address)
    count = 50 * MEGABYTE
    fetch = Curl(sandbox, entry, exit_node.name, f"/bytes/{count}")
    eventually(lambda: fetch.size > MEGABYTE)
    relay.process.send(signal.SIGKILL)
    relay.process.wait()
    sandbox.relay(listen=relay.address)
    assert fetch.digest() == sha256(content(count))


@pytest.mark.parametrize("options", [("--drop", "0.2"), ("--batch",)], ids=["drops", "sorts"])
def test_everything_arrives_in_bad_weather(sandbox, http, options):
    relay = weather(sandbox, sandbox.relay(), *options)
    exit_node = sandbox.exit([relay.url], http.address)
    entry = sandbox.entry("--protocol", "session")
    count = 5 * MEGABYTE
    file = sandbox.folder / "upload"
    file.write_bytes(content(count))
    assert Curl(sandbox, entry, exit_node.name, f"/bytes/{count}").digest() == sha256(content(count))
    assert Curl(sandbox, entry, exit_node.name, "/upload", "-T", file).body().decode() == sha256(content(count))


def test_relay_limited_in_events_is_paced(sandbox, http):
    relay = sandbox.relay("--max-events-per-second", "20")
    exit_node = sandbox.exit([relay.url], http.address)
    entry = sandbox.entry()
    count = 3 * MEGABYTE
    assert Curl(sandbox, entry, exit_node.name, f"/bytes/{count}").digest() == sha256(content(count))


# Relays that admit only known authors


def member_key(sandbox):
    keys = sandbox.keys()
    return keys.public_key().to_hex(), sandbox.write("member.key", keys.secret_key().to_hex())


def test_relay_that_refuses_unknown_authors_is_named_and_does_no_harm(sandbox, http):
    member, _ = member_key(sandbox)
    open_relay = sandbox.relay()
    closed = weather(sandbox, sandbox.relay(), "--admit", member)
    exit_node = sandbox.exit([open_relay.url, closed.url], http.address)
    entry = sandbox.entry()
    count = 5 * MEGABYTE
    for _ in range(2):
        assert Curl(sandbox, entry, exit_node.name, f"/bytes/{count}").digest() == sha256(content(count))
    for role in (exit_node, entry):
        line = role.process.wait_for_log("carries no sessions")
        assert closed.url in line and "--auth-key" in line


def test_relay_that_admits_one_key_carries_sessions_with_it(sandbox, http):
    member, key_file = member_key(sandbox)
    closed = weather(sandbox, sandbox.relay(), "--admit", member)
    exit_node = sandbox.exit([closed.url], http.address, options=("--auth-key", key_file))
    entry = sandbox.entry("--auth-key", key_file, "--protocol", "session", relays=[closed.url])
    count = 5 * MEGABYTE
    assert Curl(sandbox, entry, exit_node.name, f"/bytes/{count}").digest() == sha256(content(count))


# Exits that restart


def test_stream_of_an_exit_that_restarted_ends_at_once(sandbox, serve):
    relay, exit_node, entry = sandbox.tunnel(serve(echo).address)
    with open_stream(entry.address, exit_node.name) as client:
        client.socket.sendall(b"x")
        assert client.socket.recv(1) == b"x"
        exit_node.process.send(signal.SIGKILL)
        exit_node.process.wait()
        again = sandbox.exit([relay.url], serve(echo).address)
        assert again.name == exit_node.name
        started = time.monotonic()
        client.socket.sendall(b"y")
        assert client.is_closed()
        assert time.monotonic() - started < 15
    with open_stream(entry.address, exit_node.name) as client:
        client.socket.sendall(b"z")
        assert client.socket.recv(1) == b"z"


# Hostile relays


class Counting:
    """An echo service that counts its connections."""

    def __init__(self):
        self.count = 0

    def __call__(self, connection):
        self.count += 1
        echo(connection)


def test_recorded_session_that_is_replayed_dials_nothing(sandbox, serve):
    counting = Counting()
    backend = serve(counting)
    relay = sandbox.relay()
    spy = weather(sandbox, relay, "--record", sandbox.folder / "recorded")
    exit_node, entry = sandbox.exit([spy.url], backend.address), sandbox.entry()
    with open_stream(entry.address, exit_node.name) as client:
        client.socket.sendall(b"secret")
        assert client.socket.recv(6) == b"secret"
        # An offer, its acceptance, and packets in both directions.
        eventually(lambda: len((sandbox.folder / "recorded").read_text().splitlines()) >= 6)
    recorded = [json.loads(line) for line in (sandbox.folder / "recorded").read_text().splitlines()]
    assert counting.count == 1
    # Restart the relay and the exit, so that neither remembers the session.
    exit_node.process.kill()
    relay.process.kill()
    relay = sandbox.relay(listen=relay.address)
    again = sandbox.exit([spy.url], backend.address)
    assert again.name == exit_node.name
    offer = next(event for event in recorded if ["p", exit_node.pubkey] in event["tags"])
    with RelayConnection(relay.url) as hostile:
        hostile.subscribe("answers", {"kinds": [KIND], "#p": [offer["pubkey"]], "limit": 0})
        ids = {event["id"] for event in recorded}
        for event in recorded:
            hostile.publish(event)
        # The exit answers the replayed offer, but no client can complete that session.
        while hostile.next_event("answers")["id"] in ids:
            pass
        with open_stream(entry.address, exit_node.name) as client:
            client.socket.sendall(b"go on")
            assert client.socket.recv(5) == b"go on"
    assert counting.count == 2
    assert again.process.is_running and entry.process.is_running


def test_plain_connect_is_dialled_once_even_after_a_restart(sandbox, serve):
    counting = Counting()
    backend = serve(counting)
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url], backend.address)
    client = sandbox.closing(PlainClient(relay.url, exit_node.pubkey, exit_node.name))
    connect = client.seal(client.exit, client.message(client.key, "CONNECT", None, client.destination))
    client.relay.accepts(connect)
    eventually(lambda: counting.count == 1)
    exit_node.process.kill()
    relay.process.kill()
    relay = sandbox.relay(listen=relay.address)
    sandbox.exit([relay.url], backend.address)
    with RelayConnection(relay.url) as hostile:
        hostile.accepts(connect)
        # Events are handled in order: once this stream works, the replayed CONNECT has been handled.
        other = sandbox.closing(PlainClient(relay.url, exit_node.pubkey, exit_node.name))
        other.connect()
        other.send(b"hello")
        assert other.receive_data(5) == b"hello"
    assert counting.count == 2


def test_exit_that_spoke_sessions_is_not_spoken_to_in_less(sandbox, http):
    relay = sandbox.relay()
    keys = sandbox.keys()
    key_file = sandbox.write("pinned.key", keys.secret_key().to_hex())
    exit_node = sandbox.exit([relay.url], http.address, key_file=key_file)
    first = sandbox.entry()
    assert Curl(sandbox, first, exit_node.name, "/bytes/10").body() == content(10)
    assert sandbox.succeed("pins", "list") == [exit_node.npub]
    exit_node.process.kill()
    first.process.kill()
    # An exit with the same key but without sessions looks like a relay that drops the exit's acceptances.
    entry = sandbox.entry()
    impostor = sandbox.exit([relay.url], http.address, key_file=key_file, options=("--protocol", "nip74"))
    assert impostor.name == exit_node.name
    with SocksClient(entry.address) as client:
        client.greet()
        assert client.request(exit_node.name) == 4
    entry.process.wait_for_log(f"nws pins remove {exit_node.npub}")
    sandbox.succeed("pins", "remove", exit_node.npub)
    assert sandbox.succeed("pins", "list") == []
    assert Curl(sandbox, entry, exit_node.name, "/bytes/10").body() == content(10)
    entry.process.wait_for_log("plain NIP-74")


# Early data


def tunnel_with_early_data(sandbox, backend, *exit_options):
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url], backend, options=exit_options)
    return relay, exit_node



@pytest.mark.parametrize("takes", [True, False], ids=["taken", "not taken"])
def test_early_data_arrives_once_whether_the_exit_takes_it_or_not(sandbox, serve, takes):
    counting = Counting()
    backend = serve(counting)
    _, exit_node = tunnel_with_early_data(sandbox, backend.address, *(("--early-data",) if takes else ()))
    # Early data is sent only to known exits; the first entry makes the exit known.
    for entry in (sandbox.entry("--optimistic"), sandbox.entry("--optimistic")):
        for _ in range(2):
            with open_stream(entry.address, exit_node.name) as client:
                client.socket.sendall(b"first of all")
                assert read_exactly(client.socket, 12) == b"first of all"
                client.socket.sendall(b" - second")
                assert read_exactly(client.socket, 9) == b" - second"
                client.socket.shutdown(socket.SHUT_WR)
                assert client.socket.recv(1) == b""
    assert counting.count == 4


def test_replayed_early_data_is_not_passed_on(sandbox, serve):
    counting = Counting()
    backend = serve(counting)
    relay, exit_node = tunnel_with_early_data(sandbox, backend.address, "--early-data")
    with open_stream(sandbox.entry().address, exit_node.name) as client:
        client.socket.sendall(b"x")
        assert client.socket.recv(1) == b"x"
    with RelayConnection(relay.url) as spy:
        spy.subscribe("offers", {"kinds": [KIND], "#p": [exit_node.pubkey], "limit": 0})
        entry = sandbox.entry("--optimistic")
        with open_stream(entry.address, exit_node.name) as client:
            client.socket.sendall(b"early")
            assert read_exactly(client.socket, 5) == b"early"
        offer = spy.next_event("offers")
    assert counting.count == 2
    exit_node.process.kill()
    relay.process.kill()
    relay = sandbox.relay(listen=relay.address)
    sandbox.exit([relay.url], backend.address, options=("--early-data",))
    with RelayConnection(relay.url) as hostile:
        hostile.subscribe("answers", {"kinds": [KIND], "#p": [offer["pubkey"]], "limit": 0})
        hostile.publish(offer)
        hostile.next_event("answers")
        with open_stream(sandbox.entry().address, exit_node.name) as client:
            client.socket.sendall(b"y")
            assert client.socket.recv(1) == b"y"
    assert counting.count == 3


def test_optimistic_failure_is_a_reset(sandbox):
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url], "127.0.0.1:9")
    with open_stream(sandbox.entry("--optimistic").address, exit_node.name) as client:
        client.socket.sendall(b"x")
        with pytest.raises(ConnectionError):
            client.socket.recv(1)


def test_a_service_that_connected_lately_is_reported_as_open_at_once(sandbox):
    echoing = TCPBackend(echo)
    _, exit_node, entry = sandbox.tunnel(echoing.address)
    careful = sandbox.entry("--confirm-streams")
    assert reply_to(entry.address, exit_node.name) == SUCCEEDED
    assert reply_to(careful.address, exit_node.name) == SUCCEEDED
    # The service is gone.
    echoing.close()
    with open_stream(entry.address, exit_node.name) as client:
        with pytest.raises(ConnectionResetError):
            client.socket.sendall(b"x")
            client.socket.recv(1)
    assert reply_to(careful.address, exit_node.name) == REFUSED
    # The failure was noticed.
    assert reply_to(entry.address, exit_node.name) == REFUSED


def test_two_exits_with_one_key_are_told_and_so_is_the_client(sandbox, http):
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url], http.address)
    sandbox.write("copy.key", (sandbox.folder / "exit.key").read_text())
    # On one machine a lock prevents a second exit. This one has another state folder, as on another machine.
    copy = sandbox.exit([relay.url], http.address, env={"HOME": str(sandbox.folder / "other")}, key_file="copy.key")
    entry = sandbox.entry()
    with open_stream(entry.address, exit_node.name):
        for node in (entry, exit_node, copy):
            node.process.wait_for_log("same key")
