# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Operation of a relay: its store, proxies in front of it, and limits that change while it runs."""

import contextlib
import platform
import signal

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from nostr_wire import RelayConnection, signed
from processes import eventually
from sandbox import unused_port


def stored(relay, kind=1):
    with RelayConnection(relay.url) as raw:
        return [event["id"] for event in raw.subscribe("all", {"kinds": [kind]})]


def written(store, *events):
    """Whether the files of a running relay's store contain the ids of the events. The relay locks the database."""
    files = [path.read_bytes() for path in (store, store.with_name(store.name + "-wal")) if path.exists()]
    return all(any(bytes.fromhex(event["id"]) in data for data in files) for event in events)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_forgets_nothing(sandbox, number):
    keys = sandbox.keys()
    kept, gone = signed(keys, 1, "kept"), signed(keys, 1, "gone")
    old, new = (signed(keys, 10002, tags=[["r", f"wss://{n}.example"]], created_at=1_700_000_000 + n) for n in (1, 2))
    deletion = signed(keys, 5, tags=[["e", gone["id"]]])
    relay = sandbox.relay("--store", "events.sqlite")
    with RelayConnection(relay.url) as raw:
        for event in (kept, gone, old, new, deletion):
            raw.accepts(event)
    if number == signal.SIGKILL:
        # Events are written to the store with a short delay.
        eventually(lambda: written(sandbox.folder / "events.sqlite", kept, new, deletion))
    relay.process.send(number)
    relay.process.wait()
    relay = sandbox.relay("--store", "events.sqlite")
    assert stored(relay) == [kept["id"]]
    assert stored(relay, 10002) == [new["id"]]
    # A deleted event stays deleted.
    with RelayConnection(relay.url) as raw:
        raw.refuses(gone, "blocked")


def test_ten_thousand_events_are_there_after_a_restart(sandbox):
    keys = sandbox.keys()
    relay = sandbox.relay("--store", "events.sqlite")
    events = [signed(keys, 1, str(number), created_at=1_700_000_000 + number) for number in range(2_000)]
    with RelayConnection(relay.url) as raw:
        for event in events:
            raw.send("EVENT", event)
        for event in events:
            assert raw.receive(("OK", event["id"]))[2]
    relay.process.send(signal.SIGTERM)
    assert relay.process.wait() == 0
    relay = sandbox.relay("--store", "events.sqlite")
    with RelayConnection(relay.url) as raw:
        assert len(raw.subscribe("old", {"until": 1_700_000_399})) == 400
        assert len(raw.subscribe("new", {"since": 1_700_001_600})) == 400


def test_a_file_that_is_no_store_is_refused(sandbox):
    sandbox.write("notes.txt", "not a database, and somebody's\n" * 100)
    process, status = sandbox.finished("relay", "--listen", "127.0.0.1:0", "--store", "notes.txt")
    assert status == 78 and "notes.txt" in process.stderr
    assert (sandbox.folder / "notes.txt").read_text().startswith("not a database")


# Reverse proxies


@contextlib.contextmanager
def client_behind_a_proxy(relay, *hops):
    headers = {"X-Forwarded-For": ", ".join(hops)} if hops else {}
    with connect(relay.url, additional_headers=headers, compression=None, open_timeout=20) as socket:
        yield socket


def test_limits_by_address_count_the_clients_of_a_trusted_proxy(sandbox):
    relay = sandbox.relay("--trusted-proxy", "127.0.0.0/8", "--max-connections-per-address", "2")
    with contextlib.ExitStack() as stack:
        for address in ("198.51.100.1", "198.51.100.1", "198.51.100.2"):
            stack.enter_context(client_behind_a_proxy(relay, address))
        with pytest.raises(InvalidStatus) as refusal, client_behind_a_proxy(relay, "198.51.100.1"):
            pass
        assert refusal.value.response.status_code == 429
        # An address that the client put in front itself is ignored.
        with pytest.raises(InvalidStatus), client_behind_a_proxy(relay, "203.0.113.9", "198.51.100.1"):
            pass
        # Addresses of trusted proxies are skipped.
        with pytest.raises(InvalidStatus), client_behind_a_proxy(relay, "198.51.100.1", "127.0.0.9"):
            pass
    # After disconnecting, the client can connect again.
    eventually(lambda: opens(relay, "198.51.100.1"))


def opens(relay, address):
    try:
        with client_behind_a_proxy(relay, address):
            return True
    except InvalidStatus:
        return False


def test_without_a_trusted_proxy_nobody_is_believed(sandbox):
    relay = sandbox.relay("--max-connections-per-address", "1")
    with client_behind_a_proxy(relay, "198.51.100.1"), client_behind_a_proxy(relay, "198.51.100.1"):
        pass


def test_a_proxy_is_an_address(sandbox):
    process, status = sandbox.finished("relay", "--trusted-proxy", "nginx", "--check-config")
    assert status == 78 and "--trusted-proxy: nginx" in process.stderr


# Changing limits


def test_limits_change_while_the_relay_runs(sandbox):
    config = sandbox.write("relay.yaml", "max-stored-events: 10\n")
    relay = sandbox.relay("--config", config)
    keys = sandbox.keys()
    with RelayConnection(relay.url) as raw:
        for number in range(10):
            raw.accepts(signed(keys, 1, str(number), created_at=1_700_000_000 + number))
        config.write_text("max-stored-events: 3\nmax-event-length: 5000\nname: smaller\n")
        relay.process.wait_for_log("configuration reloaded")
        assert len(raw.subscribe("all", {"kinds": [1]})) == 3
    with RelayConnection(relay.url) as raw:
        raw.refuses(signed(keys, 1, "x" * 6000), "invalid")


def test_memory_that_slow_readers_took_goes_back_to_the_system(sandbox):
    keys = sandbox.keys()
    recipient = keys.public_key().to_hex()
    relay = sandbox.relay()
    before = relay.process.memory()
    if before is None or platform.libc_ver()[0] != "glibc":
        pytest.skip("needs /proc and the GNU C library")
    with contextlib.ExitStack() as stack:
        # Use several readers, to cover all event loops of the relay and thereby all arenas of the allocator.
        readers = [stack.enter_context(RelayConnection(relay.url)) for _ in range(4)]
        for reader in readers:
            reader.send("REQ", "all", {"kinds": [28333], "#p": [recipient]})
            reader.receive(("EOSE",))
        raw = stack.enter_context(RelayConnection(relay.url))
        for number in range(800):
            raw.accepts(signed(keys, 28333, "x" * 55_000 + str(number), [["p", recipient]]))
        relay.process.wait_for_log("slow reader disconnected")
    assert relay.process.peak_memory() > before + (30 << 20)
    eventually(lambda: relay.process.memory() < before + (20 << 20), timeout=30)
