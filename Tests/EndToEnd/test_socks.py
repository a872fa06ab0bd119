# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""How an entry answers SOCKS requests, including invalid ones."""

import socket
import threading
import time

import pytest

from backends import content, read_to_end
from raw_socks import (
    BIND,
    HOST_UNREACHABLE,
    NO_ADDRESS_TYPE,
    NO_COMMAND,
    NOT_ALLOWED,
    REFUSED,
    SUCCEEDED,
    UDP_ASSOCIATE,
    SocksClient,
    http_get,
    reply_to,
)
from sandbox import unused_port

FEW_SECONDS = 8


def still_serves(exit_node, entry):
    return http_get(entry.address, exit_node.name, "/bytes/1000") == content(1000)


def name_with_relay(sandbox, url):
    (name,) = sandbox.succeed("name", "encode", "--relay", url, sandbox.keys().public_key().to_hex())
    return name


# Replies


def test_refused_backend_is_reply_5(sandbox):
    _, exit_node, entry = sandbox.tunnel(f"127.0.0.1:{unused_port()}")
    assert reply_to(entry.address, exit_node.name) == REFUSED


def test_unreachable_relay_in_a_name_is_reply_4_soon(sandbox):
    entry = sandbox.entry()
    name = name_with_relay(sandbox, f"ws://127.0.0.1:{unused_port()}")
    started = time.monotonic()
    assert reply_to(entry.address, name) == HOST_UNREACHABLE
    assert time.monotonic() - started < FEW_SECONDS


def test_relay_that_never_answers_is_reply_4_in_the_end(sandbox):
    entry = sandbox.entry()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        name = name_with_relay(sandbox, "ws://127.0.0.1:%d" % silent.getsockname()[1])
        assert reply_to(entry.address, name) == HOST_UNREACHABLE


@pytest.mark.parametrize("host", ["example.com", "localhost", "127.0.0.1", "192.0.2.1", "::1", "2001:db8::1"])
def test_target_outside_nostr_is_reply_2(sandbox, host):
    assert reply_to(sandbox.entry().address, host) == NOT_ALLOWED


@pytest.mark.parametrize("host", ["nonsense.nostr", "nostr", ".nostr", "npub1nonsense", "a" * 249 + ".nostr"])
def test_malformed_name_is_reply_4(sandbox, host):
    assert reply_to(sandbox.entry().address, host) == HOST_UNREACHABLE


@pytest.mark.parametrize("command", [BIND, UDP_ASSOCIATE, 9])
def test_other_command_is_reply_7(sandbox, command):
    _, exit_node, entry = sandbox.tunnel("127.0.0.1:9")
    assert reply_to(entry.address, exit_node.name, command=command) == NO_COMMAND


@pytest.mark.parametrize("kind", [0, 2, 5, 255])
def test_unknown_address_type_is_reply_8(sandbox, kind):
    with SocksClient(sandbox.entry().address) as client:
        client.greet()
        assert client.raw_request(bytes([kind]) + b"\x04abcd") == NO_ADDRESS_TYPE


def test_connection_is_closed_after_a_failure(sandbox):
    with SocksClient(sandbox.entry().address) as client:
        client.greet()
        assert client.request("example.com") == NOT_ALLOWED
        assert client.is_closed()


# Authentication methods


def test_user_and_password_are_accepted(sandbox, http):
    _, exit_node, entry = sandbox.tunnel(http.address)
    with SocksClient(entry.address) as client:
        assert client.greet(b"\x02") == 2
        assert client.authenticate() == 0
        assert client.request(exit_node.name) == SUCCEEDED


def test_no_method_in_common_is_said(sandbox):
    with SocksClient(sandbox.entry().address) as client:
        assert client.greet(b"\x01\x80") == 0xFF
        assert client.is_closed()


def test_credentials_file_is_required_of_clients(sandbox, http):
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url], http.address)
    sandbox.write("credentials", "alice:in wonderland\n")
    entry = sandbox.entry("--credentials-file", "credentials")
    with SocksClient(entry.address) as client:
        assert client.greet(b"\x00") == 0xFF
    with SocksClient(entry.address) as client:
        assert client.greet(b"\x00\x02") == 2
        assert client.authenticate(b"alice", b"wrong") != 0
        assert client.is_closed()
    with SocksClient(entry.address) as client:
        assert client.greet(b"\x00\x02") == 2
        assert client.authenticate(b"alice", b"in wonderland") == 0
        assert client.request(exit_node.name) == SUCCEEDED


# Misbehaving clients


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 64,
        b"\xff" * 4096,
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
    ids=["zeros", "ones", "TLS"],
)
def test_what_is_no_proxy_protocol_is_closed_and_the_entry_still_serves(sandbox, http, data):
    _, exit_node, entry = sandbox.tunnel(http.address)
    with SocksClient(entry.address) as client:
        client.socket.sendall(data)
        assert client.is_closed()
    assert still_serves(exit_node, entry)


def test_garbage_after_the_greeting_is_closed_and_the_entry_still_serves(sandbox, http):
    _, exit_node, entry = sandbox.tunnel(http.address)
    with SocksClient(entry.address) as client:
        client.greet()
        client.socket.sendall(b"\x04\x01\x00\x01\x7f\x00\x00\x01\x00\x50")
        # A failure reply may precede the end of the connection.
        assert read_to_end(client.socket)[1:2] != bytes([SUCCEEDED])
    assert still_serves(exit_node, entry)


def test_client_that_leaves_in_the_middle_does_no_harm(sandbox, http):
    _, exit_node, entry = sandbox.tunnel(http.address)
    for data in (b"", b"\x05", b"\x05\x01\x00", b"\x05\x01\x00\x05\x01\x00\x03\x10abc"):
        with SocksClient(entry.address) as client:
            client.socket.sendall(data)
    assert still_serves(exit_node, entry)


def test_handshake_that_comes_byte_by_byte_is_understood(sandbox, http):
    _, exit_node, entry = sandbox.tunnel(http.address)
    name = exit_node.name.encode()
    request = b"\x05\x01\x00\x03" + bytes([len(name)]) + name + b"\x00\x50"
    with SocksClient(entry.address) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"\x05\x01\x00":
            client.socket.send(bytes([byte]))
        assert client.socket.recv(2) == b"\x05\x00"
        for byte in request:
            client.socket.send(bytes([byte]))
        assert client.reply() == SUCCEEDED


def test_handshake_and_data_that_come_at_once_are_understood(sandbox, serve):
    received = []
    arrived = threading.Event()

    def take(connection):
        received.append(connection.recv(100))
        arrived.set()

    _, exit_node, entry = sandbox.tunnel(serve(take).address)
    name = exit_node.name.encode()
    with SocksClient(entry.address) as client:
        client.socket.sendall(b"\x05\x01\x00\x05\x01\x00\x03" + bytes([len(name)]) + name + b"\x00\x50early")
        assert client.socket.recv(2) == b"\x05\x00"
        assert client.reply() == SUCCEEDED
        assert arrived.wait(30)
        assert received == [b"early"]
