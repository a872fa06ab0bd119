# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""A relay tells clients under which address it sees them (RFC 8489)."""

import json
import os
import select
import socket
import struct
import urllib.request

import pytest

COOKIE = 0x2112A442


def information(relay):
    request = urllib.request.Request(
        relay.url.replace("ws://", "http://"), headers={"Accept": "application/nostr+json"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def binding_request(transaction, length=24):
    attributes = struct.pack(">HH", 0x8022, length - 4) + b" " * (length - 4) if length else b""
    return struct.pack(">HHI", 1, len(attributes), COOKIE) + transaction + attributes


def mapped_address(response, transaction):
    kind, length, cookie = struct.unpack(">HHI", response[:8])
    assert (kind, length, cookie) == (0x0101, len(response) - 20, COOKIE)
    assert response[8:20] == transaction
    attribute, size, family, port, address = struct.unpack(">HHHH4s", response[20:32])
    assert (attribute, size, family) == (0x0020, 8, 1)
    plain = bytes(a ^ b for a, b in zip(address, struct.pack(">I", COOKIE)))
    return socket.inet_ntoa(plain), port ^ COOKIE >> 16


@pytest.fixture
def client(sandbox):
    client = sandbox.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    client.bind(("127.0.0.1", 0))
    client.settimeout(10)
    return client


def ask(client, port, **options):
    transaction = os.urandom(12)
    client.sendto(binding_request(transaction, **options), ("127.0.0.1", port))
    return mapped_address(client.recv(2_048), transaction)


def test_a_relay_answers_at_the_ports_that_its_information_names(sandbox, client):
    relay = sandbox.relay()
    ports = information(relay)["stun_ports"]
    assert len(set(ports)) == 2 and ports[0] == int(relay.url.rsplit(":", 1)[1])
    for port in ports:
        assert ask(client, port) == client.getsockname()


def test_a_relay_gives_no_answer_that_is_longer_than_the_request(sandbox, client):
    relay = sandbox.relay()
    port = information(relay)["stun_ports"][0]
    # An answer has 32 bytes. This request has 20.
    client.sendto(binding_request(os.urandom(12), length=0), ("127.0.0.1", port))
    client.sendto(b"\x00" * 100, ("127.0.0.1", port))
    client.sendto(binding_request(os.urandom(12))[:-1], ("127.0.0.1", port))
    # Only this one is answered: the others would have been answered before it.
    assert ask(client, port) == client.getsockname()


def test_a_network_has_a_limited_rate(sandbox, client):
    relay = sandbox.relay()
    port = information(relay)["stun_ports"][0]
    answers = 0

    def receive(timeout):
        nonlocal answers
        while select.select([client], [], [], timeout)[0]:
            client.recv(2_048)
            answers += 1

    for _ in range(1_000):
        client.sendto(binding_request(os.urandom(12)), ("127.0.0.1", port))
        receive(0)
    receive(1)
    # 200 at once, and 20 per second.
    assert 200 <= answers <= 500


def test_a_relay_without_stun_names_no_port(sandbox):
    assert "stun_ports" not in information(sandbox.relay("--no-stun"))


def test_a_relay_listens_where_it_is_told(sandbox, client):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        taken = sandbox.finished("relay", "--listen", "127.0.0.1:0", "--stun-listen", f"127.0.0.1:{port}")[0]
        assert f"127.0.0.1:{port} (--stun-listen)" in taken.stderr
    relay = sandbox.relay("--stun-listen", f"127.0.0.1:{port}")
    assert information(relay)["stun_ports"] == [port]
    assert ask(client, port) == client.getsockname()
