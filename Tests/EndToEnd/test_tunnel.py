# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Transfers through relay, exit and entry, with curl and PySocks."""

import socket
import threading

import pytest
import socks

from backends import content, digest_after_end, echo, read_exactly, read_to_end, sha256
from processes import TIMEOUT, eventually
from programs import Curl
from raw_socks import http_get, open_stream
from sandbox import unused_port

KILOBYTE, MEGABYTES_10 = 1_000, 10_000_000


@pytest.mark.parametrize("count", [0, 1, KILOBYTE, MEGABYTES_10])
def test_download_is_the_same(sandbox, http, count):
    _, exit_node, entry = sandbox.tunnel(http.address)
    assert Curl(sandbox, entry, exit_node.name, f"/bytes/{count}").digest() == sha256(content(count))


def test_twenty_downloads_at_once_are_the_same(sandbox, http):
    _, exit_node, entry = sandbox.tunnel(http.address)
    counts = [100_000 + number for number in range(20)]
    fetches = [Curl(sandbox, entry, exit_node.name, f"/bytes/{count}") for count in counts]
    assert [fetch.digest() for fetch in fetches] == [sha256(content(count)) for count in counts]


def test_upload_is_the_same(sandbox, http):
    _, exit_node, entry = sandbox.tunnel(http.address)
    body = content(MEGABYTES_10)
    (sandbox.folder / "upload").write_bytes(body)
    fetch = Curl(sandbox, entry, exit_node.name, "/upload", "-T", sandbox.folder / "upload")
    assert fetch.body().decode() == sha256(body)


@pytest.mark.parametrize("count", [0, KILOBYTE, 1_000_000])
def test_end_of_the_connection_ends_the_body(sandbox, http, count):
    _, exit_node, entry = sandbox.tunnel(http.address)
    assert Curl(sandbox, entry, exit_node.name, f"/close/{count}", timeout=10).digest() == sha256(content(count))


def test_two_requests_use_one_connection(sandbox, serve):
    """HTTP keep-alive, as browsers use it."""
    connections = []

    def count_and_answer(connection):
        connections.append(connection)
        while connection.recv(1 << 16):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    _, exit_node, entry = sandbox.tunnel(serve(count_and_answer).address)
    second = ["-o", sandbox.folder / "second", f"http://{exit_node.name}/second"]
    assert Curl(sandbox, entry, exit_node.name, "/first", *second).body() == b"ok"
    assert (sandbox.folder / "second").read_bytes() == b"ok"
    assert len(connections) == 1


def test_echo_comes_back_as_it_was_sent(sandbox, serve):
    _, exit_node, entry = sandbox.tunnel(serve(echo).address)
    client = socks.socksocket()
    client.set_proxy(socks.SOCKS5, *entry.address, rdns=True)
    client.settimeout(30)
    client.connect((exit_node.name, 80))
    with client:
        for count in (1, 10, KILOBYTE, 50_000):
            client.sendall(content(count))
            assert read_exactly(client, count) == content(count)


def test_backend_that_speaks_first_is_heard(sandbox, serve):
    _, exit_node, entry = sandbox.tunnel(serve(lambda connection: connection.sendall(b"220 hello\r\n")).address)
    with open_stream(entry.address, exit_node.name) as client:
        assert read_to_end(client.socket) == b"220 hello\r\n"


@pytest.mark.parametrize("count", [0, KILOBYTE, 1_000_000])
def test_half_closed_connection_still_gets_its_answer(sandbox, serve, count):
    _, exit_node, entry = sandbox.tunnel(serve(digest_after_end).address)
    with open_stream(entry.address, exit_node.name) as client:
        client.socket.sendall(content(count))
        client.socket.shutdown(socket.SHUT_WR)
        assert read_to_end(client.socket).decode() == sha256(content(count))


def test_half_closed_backend_still_gets_the_rest(sandbox, serve):
    received = []

    def finish_first(connection):
        connection.sendall(b"that is all")
        connection.shutdown(socket.SHUT_WR)
        received.append(read_to_end(connection))
        connection.close()

    backend = serve(finish_first)
    _, exit_node, entry = sandbox.tunnel(backend.address)
    with open_stream(entry.address, exit_node.name) as client:
        assert read_to_end(client.socket) == b"that is all"
        client.socket.sendall(b"still here")
        client.socket.shutdown(socket.SHUT_WR)
        assert eventually(lambda: received) == [b"still here"]


def test_client_that_leaves_ends_the_connection_to_the_backend(sandbox, serve):
    ended = threading.Event()

    def wait_for_end(connection):
        connection.sendall(b"x")
        try:
            read_to_end(connection)
        finally:
            ended.set()

    _, exit_node, entry = sandbox.tunnel(serve(wait_for_end).address)
    with open_stream(entry.address, exit_node.name) as client:
        assert client.socket.recv(1) == b"x"
    assert ended.wait(TIMEOUT)


# Names


def test_npub_uses_the_relays_of_the_entry(sandbox, http):
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url], http.address)
    entry = sandbox.entry(relays=[relay.url])
    assert Curl(sandbox, entry, exit_node.npub, f"/bytes/{KILOBYTE}").body() == content(KILOBYTE)


def test_nprofile_is_a_host(sandbox, http):
    _, exit_node, entry = sandbox.tunnel(http.address)
    assert Curl(sandbox, entry, exit_node.nprofile, f"/bytes/{KILOBYTE}").body() == content(KILOBYTE)


def test_nprofile_with_nostr_behind_is_a_host(sandbox, http):
    _, exit_node, entry = sandbox.tunnel(http.address)
    assert Curl(sandbox, entry, exit_node.nprofile + ".nostr", f"/bytes/{KILOBYTE}").body() == content(KILOBYTE)


def test_upper_case_name_is_the_same(sandbox, http):
    _, exit_node, entry = sandbox.tunnel(http.address)
    assert http_get(entry.address, exit_node.name.upper(), f"/bytes/{KILOBYTE}") == content(KILOBYTE)


def test_name_with_a_dot_behind_is_the_same(sandbox, http):
    _, exit_node, entry = sandbox.tunnel(http.address)
    assert http_get(entry.address, exit_node.name + ".", f"/bytes/{KILOBYTE}") == content(KILOBYTE)


def test_name_with_www_in_front_is_the_same(sandbox, http):
    _, exit_node, entry = sandbox.tunnel(http.address)
    assert http_get(entry.address, "www." + exit_node.name, f"/bytes/{KILOBYTE}") == content(KILOBYTE)


def test_one_dead_relay_of_two_in_a_name_is_passed_over(sandbox, http):
    relay = sandbox.relay()
    exit_node = sandbox.exit([f"ws://127.0.0.1:{unused_port()}", relay.url], http.address)
    assert Curl(sandbox, sandbox.entry(), exit_node.name, f"/bytes/{KILOBYTE}", timeout=15).body() == content(KILOBYTE)


def test_exit_dials_only_its_backend_whatever_port_is_asked_for(sandbox, http):
    _, exit_node, entry = sandbox.tunnel(http.address)
    assert http_get(entry.address, exit_node.name, "/bytes/10") == content(10)
    with open_stream(entry.address, exit_node.name, port=22) as client:
        client.socket.sendall(b"GET /bytes/10 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert read_to_end(client.socket).endswith(content(10))


def test_tunnel_works_over_the_rust_relay(sandbox, http):
    relay = sandbox.rust_relay()
    exit_node = sandbox.exit([relay.url], http.address)
    assert Curl(sandbox, sandbox.entry(), exit_node.name, "/bytes/1000000").digest() == sha256(content(1_000_000))
