# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Public exits and entries that use them. A service on loopback stands for the internet."""

import re
import signal
import time

import pytest

from backends import content, sha256
from processes import eventually
from programs import Curl
from raw_socks import NOT_ALLOWED, SUCCEEDED, open_stream, reply_to

FORBIDDEN = [
    "127.0.0.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "224.0.0.1",
    "255.255.255.255", "::1", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "ff02::1", "localhost",
]  # fmt: skip


def public_exit(sandbox, relays, *options, key_file="exit.key"):
    return sandbox.exit([relay.url for relay in relays], None, key_file=key_file, options=("--public", *options))


def get(sandbox, entry, address, count=1000):
    return Curl(sandbox, entry, address, f"/bytes/{count}")


def test_what_the_rules_allow_is_reached(sandbox, http):
    relay = sandbox.relay()
    port = http.address.rsplit(":", 1)[1]
    exit_node = public_exit(sandbox, [relay], "--rule", f"allow cidr 127.0.0.1/32 port {port}")
    entry = sandbox.entry("--exit", exit_node.name)
    assert sha256(get(sandbox, entry, http.address, 1_000_000).body()) == sha256(content(1_000_000))
    # The exit resolves a name and checks its addresses.
    assert get(sandbox, entry, f"localhost:{port}").body() == content(1000)
    assert reply_to(entry.address, "127.0.0.1", 1) == NOT_ALLOWED
    # The exit does not log the destinations of its clients.
    assert http.address not in exit_node.process.stderr


@pytest.mark.parametrize("host", FORBIDDEN)
def test_addresses_that_are_not_of_the_internet_are_refused(sandbox, host):
    relay = sandbox.relay()
    exit_node = public_exit(sandbox, [relay], "--rule", "allow port 1-65535")
    entry = sandbox.entry("--exit", exit_node.npub, relays=[relay.url])
    assert reply_to(entry.address, host, 80) == NOT_ALLOWED


def test_no_exit_means_no_connection(sandbox, http):
    entry = sandbox.entry()
    host, port = http.address.split(":")
    assert reply_to(entry.address, host, int(port)) == NOT_ALLOWED
    entry.process.wait_for_log("--exit NAME")


def test_public_exits_are_found_and_leave_with_a_word(sandbox, http):
    relay = sandbox.relay()
    exit_node = public_exit(sandbox, [relay], "--rule", "allow cidr 127.0.0.0/8")
    eventually(lambda: sandbox.succeed("exits", "--relay", relay.url) != [])
    (line,) = sandbox.succeed("exits", "--relay", relay.url)
    assert re.fullmatch(rf"exit: {re.escape(exit_node.name)}  announced \d+ s ago", line), line
    (line,) = sandbox.succeed("exits", "--measure", "--relay", relay.url)
    assert re.search(r", round trip \d+\.\d ms$", line), line
    entry = sandbox.entry("--public-exits", relays=[relay.url])
    host, port = http.address.split(":")
    eventually(lambda: reply_to(entry.address, host, int(port)) == SUCCEEDED)
    exit_node.process.send(signal.SIGTERM)
    assert exit_node.process.wait() == 0
    assert sandbox.succeed("exits", "--relay", relay.url) == []


def test_an_exit_that_is_not_announced_is_not_found(sandbox):
    relay = sandbox.relay()
    public_exit(sandbox, [relay], "--unannounced")
    assert sandbox.succeed("exits", "--relay", relay.url) == []


def test_another_exit_takes_over(sandbox, http):
    first_relay, second_relay = sandbox.relay(), sandbox.relay()
    rule = ("--rule", "allow cidr 127.0.0.0/8")
    first = public_exit(sandbox, [first_relay], *rule)
    second = public_exit(sandbox, [second_relay], *rule, key_file="second.key")
    entry = sandbox.entry("--exit", first.name, "--exit", second.name)
    for gone in (first, second):
        assert get(sandbox, entry, http.address).body() == content(1000)
        if gone is first:
            gone.process.kill()
    assert get(sandbox, entry, http.address).body() == content(1000)


def test_a_clients_rate_is_bounded(sandbox, http):
    relay = sandbox.relay()
    exit_node = public_exit(
        sandbox, [relay], "--rule", "allow cidr 127.0.0.0/8", "--max-rate-per-client", "2000000"
    )
    entry = sandbox.entry("--exit", exit_node.name)
    started = time.monotonic()
    assert len(get(sandbox, entry, http.address, 4_000_000).body()) == 4_000_000
    # There is only a lower bound, because a busy machine may be slower.
    assert time.monotonic() - started > 1.5


def test_a_clients_streams_are_bounded(sandbox, http):
    relay = sandbox.relay()
    exit_node = public_exit(
        sandbox, [relay], "--rule", "allow cidr 127.0.0.0/8", "--max-streams-per-client", "2", "--max-connects-per-second",
        "1000",
    )  # fmt: skip
    entry = sandbox.entry("--exit", exit_node.name, "--confirm-streams")
    host, port = http.address.split(":")
    with open_stream(entry.address, host, int(port)), open_stream(entry.address, host, int(port)):
        assert reply_to(entry.address, host, int(port)) != SUCCEEDED
    eventually(lambda: reply_to(entry.address, host, int(port)) == SUCCEEDED)


def test_a_list_of_exits_needs_a_relay(sandbox):
    process, status = sandbox.finished("exits")
    assert status == 78 and "no relay" in process.stderr
