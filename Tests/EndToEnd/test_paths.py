# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Relays of a node that change or have two addresses, relay lists (NIP-65), and connections of exits to entries (CONNECTR)."""

import json
import signal
import socket
import threading
import time
import uuid

import pytest

from backends import content, echo, read_exactly, sha256
from nostr_wire import RelayConnection, signed
from plain_nip74 import PlainClient, PlainExit
from processes import eventually
from raw_socks import SUCCEEDED, http_get, open_stream, reply_to
from sandbox import unused_port


def says_that_it_echoes(client, data):
    client.socket.sendall(data)
    return read_exactly(client.socket, len(data)) == data


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--allow-local-addresses",), "--allow-local-addresses has no effect"),
        (("--advertise", "ws://127.0.0.1:1=wss://relay.example"), "not one of the relays"),
        (("--reverse-connections", "--protocol", "session"), "--reverse-connections"),
    ],
)
def test_what_cannot_be_meant_is_refused(sandbox, arguments, message):
    process, status = sandbox.finished(
        "exit", "--relay", "ws://127.0.0.1:9", "--backend", "127.0.0.1:9", "--check-config", *arguments
    )
    assert status == 78 and message in process.stderr


# Advertised addresses and changes of relays


def test_clients_get_the_address_that_is_for_them(sandbox, http):
    relay = sandbox.relay()
    inside = relay.url.replace("127.0.0.1", "localhost")
    exit_node = sandbox.exit([inside], http.address, options=("--advertise", relay.url))
    lines = sandbox.succeed("name", "decode", exit_node.name)
    assert any(relay.url.rstrip("/") in line for line in lines) and not any("localhost" in line for line in lines)
    entry = sandbox.entry()
    assert http_get(entry.address, exit_node.name, "/bytes/1000") == content(1000)


def test_an_exit_moves_to_another_relay_with_its_streams(sandbox, serve):
    first, second = sandbox.relay(), sandbox.relay()
    config = sandbox.write("exit.yaml", f"relay: [{first.url}]\n")
    exit_node = sandbox.exit([], serve(echo).address, options=("--config", config))
    entry = sandbox.entry("--log-level", "debug")
    with open_stream(entry.address, exit_node.name) as client:
        assert says_that_it_echoes(client, b"one")
        config.write_text(f"relay: [{first.url}, {second.url}]\n")
        entry.process.wait_for_log("exit adds a relay")
        eventually(lambda: entry.process.stderr.count("relay up") >= 2)
        config.write_text(f"relay: [{second.url}]\n")
        exit_node.process.wait_for_log("the exit's name has changed")
        eventually(lambda: exit_node.process.stderr.count("the exit's name has changed") >= 2)
        first.process.kill()
        assert says_that_it_echoes(client, b"two" * 10_000)
        name = [line for line in exit_node.process.stderr.splitlines() if "the exit's name has changed" in line][-1]
    fresh = next(word for word in name.replace("=", " ").split() if word.endswith(".nostr"))
    with open_stream(entry.address, fresh) as client:
        assert says_that_it_echoes(client, b"three")


def test_an_entry_takes_other_relays(sandbox, http):
    first, second = sandbox.relay(), sandbox.relay()
    exit_node = sandbox.exit([second.url], http.address)
    config = sandbox.write("entry.yaml", f"relay: [{first.url}]\n")
    entry = sandbox.entry("--config", config)
    assert reply_to(entry.address, exit_node.npub) != SUCCEEDED
    config.write_text(f"relay: [{second.url}]\n")
    entry.process.wait_for_log("configuration reloaded")
    assert http_get(entry.address, exit_node.npub, "/bytes/1000") == content(1000)


# Relay lists (NIP-65)


def lists_of(relay, pubkey):
    with RelayConnection(relay.url) as raw:
        return raw.subscribe("lists", {"kinds": [10002], "authors": [pubkey]})


def test_the_exits_relays_are_published(sandbox, http):
    one, two = sandbox.relay(), sandbox.relay()
    exit_node = sandbox.exit([one.url, two.url], http.address, options=("--publish-relays",))
    for relay in (one, two):
        [event] = eventually(lambda: lists_of(relay, exit_node.pubkey))
        assert [tag[1].rstrip("/") for tag in event["tags"]] == [one.url.rstrip("/"), two.url.rstrip("/")]
    # After the exit has moved to the second relay, an entry with that relay finds it by its npub alone.
    exit_node.process.send(signal.SIGTERM)
    exit_node.process.wait()
    moved = sandbox.exit([two.url], http.address, options=("--publish-relays",))
    eventually(lambda: len(lists_of(two, moved.pubkey)[0]["tags"]) == 1)
    entry = sandbox.entry(relays=[two.url])
    assert http_get(entry.address, moved.npub, "/bytes/1000") == content(1000)


def test_a_list_that_somebody_else_wrote_stays(sandbox, http):
    relay = sandbox.relay()
    keys = sandbox.keys()
    sandbox.write("own.key", keys.secret_key().to_hex())
    theirs = signed(keys, 10002, tags=[["r", "wss://mine.example"]])
    with RelayConnection(relay.url) as raw:
        raw.accepts(theirs)
    exit_node = sandbox.exit([relay.url], http.address, key_file="own.key", options=("--publish-relays",))
    exit_node.process.wait_for_log("another program published a relay list")
    assert [event["id"] for event in lists_of(relay, exit_node.pubkey)] == [theirs["id"]]


def test_a_list_that_somebody_else_writes_meanwhile_stays(sandbox, http):
    relay, more = sandbox.relay(), sandbox.relay()
    keys = sandbox.keys()
    sandbox.write("own.key", keys.secret_key().to_hex())
    config = sandbox.write("exit.yaml", f"relay: [{relay.url}]\n")
    exit_node = sandbox.exit(
        [], http.address, key_file="own.key", options=("--publish-relays", "--config", config)
    )
    [first] = eventually(lambda: lists_of(relay, exit_node.pubkey))
    theirs = signed(keys, 10002, tags=[["r", "wss://mine.example"]], created_at=first["created_at"] + 5)
    with RelayConnection(relay.url) as raw:
        raw.accepts(theirs)
    config.write_text(f"relay: [{relay.url}, {more.url}]\n")
    exit_node.process.wait_for_log("another program published a relay list")
    assert [event["id"] for event in lists_of(relay, exit_node.pubkey)] == [theirs["id"]]


# Connections from exits to entries (CONNECTR)


def test_our_exit_connects_to_our_entry(sandbox, http):
    relay = sandbox.relay()
    exit_node = sandbox.exit(
        [relay.url], http.address, options=("--reverse-connections", "--allow-local-addresses", "--protocol", "nip74")
    )
    port = unused_port()
    entry = sandbox.entry("--protocol", "nip74", env={"PUBLIC_ADDRESS": f"127.0.0.1:{port}"})
    body = http_get(entry.address, exit_node.name, "/bytes/20000000")
    assert sha256(body) == sha256(content(20_000_000))


def test_relays_carry_what_an_exit_does_not_connect_for(sandbox, http):
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url], http.address, options=("--protocol", "nip74"))
    entry = sandbox.entry("--protocol", "nip74", env={"PUBLIC_ADDRESS": f"127.0.0.1:{unused_port()}"})
    assert http_get(entry.address, exit_node.name, "/bytes/100000") == content(100_000)
    entry.process.wait_for_log("does not connect to the public address")
    # Later streams do not wait for the exit's connection again.
    start = time.monotonic()
    assert http_get(entry.address, exit_node.name, "/bytes/1000") == content(1000)
    assert time.monotonic() - start < 5


def test_a_stream_that_an_exit_carries_ends_before_its_entry(sandbox, serve):
    relay = sandbox.relay()
    exit_node = sandbox.exit(
        [relay.url],
        serve(echo).address,
        options=("--reverse-connections", "--allow-local-addresses", "--protocol", "nip74"),
    )
    entry = sandbox.entry(
        "--protocol", "nip74", "--shutdown-timeout", "20", env={"PUBLIC_ADDRESS": f"127.0.0.1:{unused_port()}"}
    )
    with open_stream(entry.address, exit_node.name) as client:
        assert says_that_it_echoes(client, b"before")
        entry.process.send(signal.SIGTERM)
        entry.process.wait_for_log("shutting down: no new streams")
        assert says_that_it_echoes(client, b"after")
    assert entry.process.wait() == 0


def test_an_exit_connects_to_no_entry_unless_it_may(sandbox, http):
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url], http.address, options=("--reverse-connections",))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(2)
        with PlainClient(relay.url, exit_node.pubkey, exit_node.name) as client:
            ask_to_connect(client, listener)
            with pytest.raises(TimeoutError):
                listener.accept()
    exit_node.process.wait_for_log("cannot connect to the entry (CONNECTR)")


def ask_to_connect(client, listener):
    """Sends CONNECTR as the reference does; returns its UUID."""
    key = str(uuid.uuid4())
    host, port = listener.getsockname()
    message = {"key": key, "type": "CONNECTR", "destination": client.destination, "entryPublicAddress": f"{host}:{port}"}
    client.relay.accepts(client.seal(client.exit, json.dumps(message, separators=(",", ":"))))
    return key


def test_an_exit_connects_as_the_reference_does(sandbox, serve):
    relay = sandbox.relay()
    exit_node = sandbox.exit(
        [relay.url], serve(echo).address, options=("--reverse-connections", "--allow-local-addresses")
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        with PlainClient(relay.url, exit_node.pubkey, exit_node.name) as client:
            key = ask_to_connect(client, listener)
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(20)
                assert read_exactly(connection, 36) == key.encode()
                connection.sendall(b"\x01hello")
                assert read_exactly(connection, 5) == b"hello"
                connection.shutdown(socket.SHUT_WR)
                assert connection.recv(1) == b""


class ReverseExit(PlainExit):
    """An exit that connects to the entry, as the reference's exit does."""

    def handle(self, client, message):
        if message["type"] != "CONNECTR":
            return
        host, port = message["entryPublicAddress"].rsplit(":", 1)
        connection = socket.create_connection((host, int(port)), 20)
        connection.sendall(message["key"].encode())
        assert read_exactly(connection, 1) == b"\x01"
        self.streams[message["key"]] = connection
        threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        while data := connection.recv(65536):
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)


def test_our_entry_takes_connections_as_the_reference_makes_them(sandbox):
    relay = sandbox.relay()
    exit_node = sandbox.closing(ReverseExit(relay.url))
    port = unused_port()
    entry = sandbox.entry("--protocol", "nip74", "--public-address", f"127.0.0.1:{port}", relays=[relay.url])
    name = sandbox.succeed("name", "encode", exit_node.pubkey, "--relay", relay.url)[0].split(": ", 1)[-1]
    with open_stream(entry.address, name) as client:
        assert says_that_it_echoes(client, content(1_000_000))
        client.socket.shutdown(socket.SHUT_WR)
        assert client.socket.recv(1) == b""


def test_a_connection_that_names_no_stream_is_closed(sandbox):
    port = unused_port()
    sandbox.entry("--public-address", f"127.0.0.1:{port}")
    with socket.create_connection(("127.0.0.1", port), 20) as stranger:
        stranger.sendall(str(uuid.uuid4()).encode())
        assert stranger.recv(1) == b""
