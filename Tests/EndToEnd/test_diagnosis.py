# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""The output of ping, doctor and status."""

import email.utils
import json
import re
import socket
import threading
import time

import pytest

from backends import read_to_end


def test_ping_measures_the_way(sandbox, http):
    relay, exit_node, _ = sandbox.tunnel(http.address)
    lines = sandbox.succeed("ping", exit_node.name, "--count", "3")
    assert [line.split(":")[0] for line in lines] == ["open", "open", "open", "relay", "direct", "protocol", "opened"]
    assert relay.url in lines[3] and "round trip" in lines[3]
    assert lines[4].startswith("direct: none: direct paths are only for devices and exits that trust each other")
    assert lines[5] == "protocol: session" and "3 of 3" in lines[6]
    lines = sandbox.succeed("ping", exit_node.name, "--count", "1", "--protocol", "nip74")
    assert any(line.startswith("protocol: nip74") for line in lines)
    # The exit must not log a reset, because nothing failed.
    exit_node.process.wait_for_log("reason=cancelled")
    assert "reason=connection-reset" not in exit_node.process.describe()


def test_ping_says_where_it_fails(sandbox):
    _, exit_node, _ = sandbox.tunnel("127.0.0.1:9")
    process, status = sandbox.finished("ping", f"{exit_node.name}:22", "--count", "1")
    assert status == 1 and "failed: backend: " in process.describe()
    process, status = sandbox.finished("ping", "nonsense.nostr")
    assert status == 78 and "no alias has this name" in process.stderr and not process.stdout


def test_doctor_knows_good_relays(sandbox):
    relay = sandbox.relay()
    lines = sandbox.succeed("doctor", "--relay", relay.url)
    # The relay is on this machine, so it cannot show what a NAT does.
    assert [line[:4] for line in lines if not line.startswith("ok ")] == ["warn"]
    assert lines[-2].startswith("warn  NAT: not examined")
    assert relay.url in lines[-3] and "no limit on the rate found in a short test; good for all uses; limits: 262144 bytes per message" in lines[-3]
    assert "clock: within 1 s" in lines[-1]


def test_doctor_asks_a_stun_server(sandbox):
    relay = sandbox.relay()
    lines = sandbox.succeed("doctor", "--relay", relay.url, "--stun", relay.address)
    assert any(line.startswith("ok    NAT: datagrams from here come from 127.0.0.1:") for line in lines), lines


def pump(source, target):
    try:
        while piece := source.recv(1 << 16):
            target.sendall(piece)
    except OSError:
        pass


def clock_front(serve, relay, difference):
    """A reverse proxy of a relay whose clock differs from that of the relay by this many seconds."""
    host, port = relay.address.split(":")

    def answer(client):
        """Forwards to the relay, but answers with another Date."""
        with socket.create_connection((host, int(port))) as upstream:
            request = client.recv(65536)
            upstream.sendall(request)
            if b"Upgrade" in request:
                threading.Thread(target=pump, args=(client, upstream), daemon=True).start()
                pump(upstream, client)
                return
            upstream.shutdown(socket.SHUT_WR)
            date = email.utils.formatdate(time.time() + difference, usegmt=True).encode()
            client.sendall(re.sub(rb"(?i)date: [^\r]*", b"Date: " + date, read_to_end(upstream)))

    return serve(answer)


@pytest.mark.parametrize("is_listed", [False, True])
@pytest.mark.parametrize("difference", [-180, -3000])
def test_a_wrong_clock_is_named_at_once(sandbox, serve, difference, is_listed):
    relay = sandbox.relay()
    options = ()
    if is_listed:
        npub = sandbox.succeed("key", "generate", "--key-file", "client.key")[1].removeprefix("npub: ")
        options = ("--allow", npub)
    exit_node = sandbox.exit([relay.url], options=options)
    access = ("--identity", "client.key", "--identity-for", exit_node.npub) if is_listed else ()
    # The client dates its requests by the clock of the relay.
    front = clock_front(serve, relay, difference)
    started = time.monotonic()
    process, status = sandbox.finished(
        "ping", exit_node.npub, "--relay", f"ws://{front.address}", "--count", "1", *access
    )
    assert status == 1 and "check the clocks of both machines" in process.describe(), process.describe()
    assert time.monotonic() - started < 8, process.describe()


def test_doctor_compares_the_clock(sandbox, serve):
    relay = sandbox.relay()
    front = clock_front(serve, relay, -600)
    lines = sandbox.succeed("doctor", "--relay", f"ws://{front.address}")
    assert re.match(r"warn  clock: (599|60[01]) s ahead of the relays'", lines[-1]), lines
    # With two relays, the one whose clock differs is named.
    lines = sandbox.succeed("doctor", "--relay", f"ws://{front.address}", relay.url)
    assert lines[-1].startswith("warn  clock: within 1 s of a relay's, but not of ws://" + front.address), lines


def test_doctor_says_what_is_wrong(sandbox):
    small = sandbox.relay("--max-event-length", "40000")
    process, status = sandbox.finished("doctor", "--relay", small.url, "ws://127.0.0.1:9", "--key-file", "none")
    assert status == 1
    verdicts = {line.split()[1].removesuffix(":"): line.split()[0] for line in process.stdout}
    assert verdicts["key"] == "FAIL" and verdicts["ws://127.0.0.1:9"] == "FAIL" and verdicts[small.url] == "warn"


@pytest.mark.parametrize(
    "report",
    [
        {"startedAt": 1e300},
        {"moreSessions": 2**63 - 1},
        {"problems": [{"time": -1e300, "text": "x", "count": 1}]},
        {"role": None},
    ],
)
def test_status_refuses_what_cannot_be_true(sandbox, serve, report):
    good = {
        "role": "relay", "version": "1", "name": "x", "startedAt": 1e9, "isReady": True, "relays": [], "sessions": [],
        "moreSessions": 0, "streams": 0, "sentBytes": 0, "receivedBytes": 0, "sentRates": [], "receivedRates": [],
        "problems": [], "services": [],
    }  # fmt: skip
    address = serve(json_answers({**good, **report})).address
    for options in ((), ("--json",)):
        process, status = sandbox.finished("status", address, *options)
        assert status == 1 and "is not from nws" in process.stderr and not process.stdout
    process, status = sandbox.finished("status", serve(json_answers({**good, "name": "\x9b31m\x1b]0;x\x07"})).address)
    assert status == 0 and not any(ord(character) in range(0x80, 0xA0) for character in process.output)
    assert "\x1b" not in process.output


def json_answers(value):
    body = json.dumps(value, ensure_ascii=False).encode()

    def answer(connection):
        connection.recv(10_000)
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)

    return answer
