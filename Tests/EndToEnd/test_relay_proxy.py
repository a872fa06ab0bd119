# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Connecting to relays through a SOCKS5 proxy, such as Tor."""

import socket
import threading

import pytest

from backends import content, read_exactly
from raw_socks import SUCCEEDED, SocksClient, http_get, reply_to


class Proxy:
    """A SOCKS5 server that records the requested hosts and the user names."""

    def __init__(self, asks_who=True):
        self.asks_who = asks_who
        self.requests = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"socks5://127.0.0.1:{self.listener.getsockname()[1]}"
        self._sockets = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.listener.close()
        for open_socket in self._sockets:
            open_socket.close()

    def _accept(self):
        try:
            while True:
                client, _ = self.listener.accept()
                self._sockets.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()
        except OSError:
            pass

    def _serve(self, client):
        try:
            _, count = read_exactly(client, 2)
            methods = read_exactly(client, count)
            user = b""
            if self.asks_who and 2 in methods:
                client.sendall(b"\x05\x02")
                user = read_exactly(client, read_exactly(client, 2)[1])
                read_exactly(client, read_exactly(client, 1)[0])
                client.sendall(b"\x01\x00")
            else:
                client.sendall(b"\x05\x00")
            kind = read_exactly(client, 4)[3]
            if kind == 3:
                host = read_exactly(client, read_exactly(client, 1)[0]).decode()
            else:
                host = socket.inet_ntop(socket.AF_INET if kind == 1 else socket.AF_INET6, read_exactly(client, {1: 4, 4: 16}[kind]))
            port = int.from_bytes(read_exactly(client, 2), "big")
            self.requests.append((host, user))
            # Only the proxy can resolve .test names.
            target = socket.create_connection(("127.0.0.1" if host.endswith(".test") else host, port), 20)
            self._sockets.append(target)
            client.sendall(b"\x05\x00\x00\x01" + bytes(6))
            threading.Thread(target=self._pipe, args=(client, target), daemon=True).start()
            self._pipe(target, client)
        except (OSError, ValueError):
            client.close()

    @staticmethod
    def _pipe(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@pytest.fixture
def proxy(sandbox):
    return sandbox.closing(Proxy())


def test_names_of_relays_are_looked_up_by_the_proxy_alone(sandbox, http, proxy):
    relay = sandbox.relay()
    url = relay.url.replace("127.0.0.1", "relay.test")
    exit_node = sandbox.exit([url], http.address, options=("--relay-proxy", proxy.url))
    entry = sandbox.entry("--relay-proxy", proxy.url)
    assert http_get(entry.address, exit_node.name, "/bytes/100000") == content(100_000)
    assert {host for host, _ in proxy.requests} == {"relay.test"}


def test_what_is_to_stay_apart_has_credentials_of_its_own(sandbox, http, proxy):
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url], http.address, options=("--relay-proxy", proxy.url))
    # The connections of the long-term key and those of sessions use different credentials.
    assert len({user for _, user in proxy.requests if user}) == 2
    proxy.requests.clear()
    entry = sandbox.entry("--relay-proxy", proxy.url)
    seen = set()
    for user in (b"alice", b"bob"):
        with SocksClient(entry.address) as client:
            assert client.greet(b"\x02") == 2
            assert client.authenticate(user) == 0
            assert client.request(exit_node.name) == SUCCEEDED
        users = {name for _, name in proxy.requests}
        assert users - seen, "no circuit of its own"
        seen |= users
    assert b"alice" not in seen and b"bob" not in seen


def test_a_proxy_without_passwords_does_too(sandbox, http):
    proxy = sandbox.closing(Proxy(asks_who=False))
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url], http.address, options=("--relay-proxy", proxy.url))
    assert http_get(sandbox.entry().address, exit_node.name, "/bytes/1000") == content(1000)


def test_our_own_entry_does_as_a_proxy(sandbox, http):
    """The relay is itself behind an exit, so the entry can reach it only through another tunnel."""
    outer_relay, inner_relay = sandbox.relay(), sandbox.relay()
    carrier = sandbox.exit([outer_relay.url], inner_relay.address, key_file="carrier.key")
    host = sandbox.succeed("name", "encode", carrier.pubkey)[0]
    outer = sandbox.entry(relays=[outer_relay.url])
    exit_node = sandbox.exit([inner_relay.url], http.address, key_file="inner.key")
    entry = sandbox.entry("--relay-proxy", f"socks5://{outer.socks}", relays=[f"ws://{host}:80"])
    assert http_get(entry.address, exit_node.npub, "/bytes/100000") == content(100_000)


def test_a_proxy_that_is_not_there_is_named(sandbox):
    entry = sandbox.entry("--relay-proxy", "socks5://127.0.0.1:9", relays=["ws://relay.test"])
    entry.process.wait_for_log("relay down")
    assert reply_to(entry.address, "npub180cvv07tjdrrgpa0j7j7tmnyl2yr6yr7l8j4s3evf6u64th6gkwsyjh6w6") != SUCCEEDED


@pytest.mark.parametrize("url", ["http://127.0.0.1:9050", "127.0.0.1:9050", "socks5://user:secret@127.0.0.1:9050"])
def test_what_is_no_proxy_is_refused(sandbox, url):
    process, status = sandbox.finished("entry", "--relay-proxy", url, "--check-config")
    assert status == 78 and "socks5://HOST:PORT" in process.stderr and "secret" not in process.stderr
