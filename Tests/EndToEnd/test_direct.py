# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Direct paths: datagrams between a device and its exit, for which relays are only the introduction."""

import os
import re
import socket

import pytest

from backends import TCPBackend, echo
from processes import eventually


def free_udp_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def direct(choice="trusted"):
    port = free_udp_port()
    return ["--direct", choice, "--direct-port", port, "--direct-address", f"127.0.0.1:{port}"]


def exchange(connection, size):
    data = os.urandom(size)
    connection.settimeout(30)
    received = bytearray()
    sent = 0
    while len(received) < size:
        if sent < size and sent - len(received) < 65_536:
            sent += connection.send(data[sent : sent + 16_384])
        received += connection.recv(65_536)
    assert bytes(received) == data


def tunnel(sandbox, home, laptop, relay, at_home, at_laptop):
    """Returns both processes and a connection through them to an echo service."""
    service = sandbox.closing(TCPBackend(echo))
    exit = home.share(f"7={service.address}", "--relay", relay.url, *at_home)
    laptop.join(home.invite("laptop"))
    entry = laptop.start("forward", "127.0.0.1:0", "home:7", *at_laptop)
    host, port = entry.value("forward").split(" ")[0].rsplit(":", 1)
    connection = sandbox.closing(socket.create_connection((host, int(port)), timeout=20))
    exchange(connection, 1_000)
    return exit, entry, connection


def test_a_direct_path_carries_on_without_relays(sandbox, home, laptop):
    relay = sandbox.relay()
    exit, entry, connection = tunnel(sandbox, home, laptop, relay, direct(), direct())
    exit.wait_for_log("direct path found")
    entry.wait_for_log("direct path found")
    # The sockets of IPv4 and IPv6 have the same port.
    assert "cannot open a UDP socket" not in exit.stderr + entry.stderr
    exchange(connection, 500_000)
    relay.process.kill()
    exchange(connection, 2_000_000)


def test_status_and_ping_show_the_direct_path(sandbox, home, laptop):
    relay = sandbox.relay()
    exit, entry, _ = tunnel(
        sandbox, home, laptop, relay, [*direct(), "--admin", "127.0.0.1:0"], [*direct(), "--admin", "127.0.0.1:0"]
    )
    for node in (exit, entry):
        node.wait_for_log("direct path found")
        page = node.value("admin")
        eventually(lambda: re.search(r"direct: \S+:\d+, round trip", "\n".join(sandbox.succeed("status", page))))
    lines = laptop.succeed("ping", "home:7", "--count", "20", *direct())
    assert re.search(r"^direct: \S+:\d+ round trip [\d.]+ ms, lost \d+ of \d+ packets$", lines, re.MULTILINE), lines


@pytest.mark.parametrize(
    "at_home, at_laptop, reason",
    [
        ("off", "trusted", "the other side has turned direct paths off, or does not know them"),
        ("trusted", "off", "direct paths are off here"),
    ],
)
def test_ping_says_why_there_is_no_direct_path(sandbox, home, laptop, at_home, at_laptop, reason):
    tunnel(sandbox, home, laptop, sandbox.relay(), direct(at_home), direct(at_laptop))
    assert f"direct: none: {reason}" in laptop.succeed("ping", "home:7", "--count", "1", *direct(at_laptop))


@pytest.mark.parametrize("at_home, at_laptop", [("off", "trusted"), ("trusted", "off")])
def test_a_side_that_does_not_want_a_direct_path_gets_none(sandbox, home, laptop, at_home, at_laptop):
    exit, entry, connection = tunnel(sandbox, home, laptop, sandbox.relay(), direct(at_home), direct(at_laptop))
    exchange(connection, 200_000)
    assert "direct path found" not in exit.stderr and "direct path found" not in entry.stderr
