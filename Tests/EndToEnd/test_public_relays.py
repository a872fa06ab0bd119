# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""nws share without a relay: relays from a list are tried, used within a budget, and replaced."""

import json
import socket
import subprocess

import pytest

from backends import HTTPBackend
from processes import eventually
from sandbox import unused_port
from test_admin import ask, pages
from test_devices import Home, entry_of, fetch


@pytest.fixture
def web(sandbox):
    return sandbox.closing(HTTPBackend())


def listed(sandbox, *urls):
    """Returns the options that replace the list of public relays."""
    text = "".join(f"{url} 2026-11 a test\n" for url in urls)
    return ["--relay-list", sandbox.write("relays.txt", text)]


def test_share_chooses_relays_that_work(sandbox, web):
    dead = f"ws://127.0.0.1:{unused_port()}"
    relays = [sandbox.relay().url, sandbox.relay().url]
    home, laptop = Home(sandbox, "home"), Home(sandbox, "laptop")
    options = listed(sandbox, dead, *relays)
    process = home.share(f"80={web.address}", *options)
    state = json.loads((home.folder / ".local/state/nws/share.json").read_text())
    assert sorted(state["chosenRelays"]) == sorted(relays)
    laptop.join(home.invite())
    _, socks = entry_of(laptop, "--confirm-streams")
    assert len(fetch(f"socks5h://{socks[0]}:{socks[1]}", "http://home.nostr/bytes/1000")) == 1000
    # They are remembered: the next start tries nothing.
    process.kill()
    process = home.share(f"80={web.address}", *options)
    assert "trying public relays" not in process.stderr
    assert len(fetch(f"socks5h://{socks[0]}:{socks[1]}", "http://home.nostr/bytes/1000")) == 1000


def test_share_says_what_to_do_if_no_relay_works(sandbox, web):
    home = Home(sandbox, "home")
    dead = f"ws://127.0.0.1:{unused_port()}"
    error = home.fail("share", f"80={web.address}", *listed(sandbox, dead))
    assert "none of 1 public relays works from here" in error and "--relay URL" in error


def test_relays_that_stop_are_replaced_and_devices_learn_it(sandbox, web):
    first, second = sandbox.relay(), sandbox.relay()
    home, laptop = Home(sandbox, "home"), Home(sandbox, "laptop")
    port = unused_port()
    options = listed(sandbox, first.url, second.url, f"ws://127.0.0.1:{port}")
    process = home.share(f"80={web.address}", *options)
    laptop.join(home.invite())
    for relay in [first, second]:
        relay.process.kill()
    sandbox.relay(listen=f"127.0.0.1:{port}")
    process.wait_for_log("relays added for some that stopped", timeout=60)
    # The first one is back, so a device finds the exit by it, and learns the new one.
    for relay in [first, second]:
        sandbox.relay(listen=relay.address)
    entry, socks = entry_of(laptop)
    assert len(fetch(f"socks5h://{socks[0]}:{socks[1]}", "http://home.nostr/bytes/1000")) == 1000
    aliases = laptop.folder / ".local/state/nws/aliases"
    eventually(lambda: f"ws://127.0.0.1:{port}" in laptop.succeed("alias", "show", "home"))
    assert aliases.stat().st_mode & 0o777 == 0o600


def test_doctor_suggests_relays(sandbox):
    dead = f"ws://127.0.0.1:{unused_port()}"
    relay = sandbox.relay()
    home = Home(sandbox, "home")
    output = home.succeed("doctor", "--suggest", *listed(sandbox, dead, relay.url))
    assert f"Use: --relay {relay.url}\n" in output
    assert "failed: cannot connect" in output and "a test" in output
    assert "not a relay URL" in home.fail("doctor", "--suggest", "--relay-list", sandbox.write("bad", "x y\n"))
    assert "none of these relays works" in home.fail("doctor", "--suggest", *listed(sandbox, dead))


def test_a_relay_of_the_list_gets_no_more_than_the_budget(sandbox, web):
    """A download over a relay of the list needs more events than the budget has."""
    relay = sandbox.relay("--admin", "127.0.0.1:0")
    home, laptop = Home(sandbox, "home"), Home(sandbox, "laptop")
    options = [*listed(sandbox, relay.url), "--public-relay-budget", "60"]
    home.share(f"80={web.address}", *options)
    laptop.join(home.invite(), *options)
    # A direct path would carry the download.
    process = laptop.start("entry", "--listen", "127.0.0.1:0", "--direct", "off", *options)
    host, port = process.value("socks").rsplit(":", 1)
    with pytest.raises(subprocess.CalledProcessError):
        fetch(f"socks5h://{host}:{port}", "http://home.nostr/bytes/3000000", timeout=10)
    metrics = ask(pages(relay) + "/metrics")[1]
    received = sum(
        float(line.rsplit(" ", 1)[1]) for line in metrics.splitlines() if line.startswith("nws_relay_events_accepted_total")
    )
    # Both nodes: a burst of 60 and one a second, and what join and the trial sent before.
    assert 60 < received < 4 * 60 + 40


STUN_LINE = "stun:127.0.0.1:{port}  2026-11  a test\n"


def test_stun_servers_of_the_list_are_asked_by_those_who_use_its_relays(sandbox, web):
    """The relays of the list answer no STUN requests. A relay of one's own, too, does not; then nobody else is asked."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        relay, own = sandbox.relay("--no-stun"), sandbox.relay("--no-stun")
        text = f"{relay.url} 2026-11 a test\n" + STUN_LINE.format(port=server.getsockname()[1])
        options = ["--relay-list", sandbox.write("relays.txt", text)]
        home, laptop = Home(sandbox, "home"), Home(sandbox, "laptop")
        process = home.share(f"80={web.address}", "--relay", own.url, *options)
        laptop.join(home.invite())
        _, socks = entry_of(laptop, "--confirm-streams", "--relay-list", options[1])
        fetch(f"socks5h://{socks[0]}:{socks[1]}", "http://home.nostr/bytes/1000")
        process.kill()
        server.settimeout(1)
        with pytest.raises(TimeoutError):
            server.recv(2_048)
        home, laptop = Home(sandbox, "home2"), Home(sandbox, "laptop2")
        home.share(f"80={web.address}", "--relay", relay.url, *options)
        laptop.join(home.invite())
        _, socks = entry_of(laptop, "--confirm-streams", "--relay-list", options[1], "--no-public-stun")
        fetch(f"socks5h://{socks[0]}:{socks[1]}", "http://home.nostr/bytes/1000")
        server.settimeout(10)
        request, address = server.recvfrom(2_048)
        # A binding request (RFC 8489): type and magic cookie. Only one of the nodes asks.
        assert request[:2] == b"\x00\x01" and request[4:8] == b"\x21\x12\xa4\x42"
        server.settimeout(1)
        with pytest.raises(TimeoutError):
            while True:
                assert server.recvfrom(2_048)[1] == address
