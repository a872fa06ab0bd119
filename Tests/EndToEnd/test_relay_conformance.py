# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Tests of the relay's behaviour for those items of a common list of relay checks that need a process or a socket.

Tests/NostrRelayTests covers all other items, on a relay in memory, and checks that none is missing. Each test here
names the items that it covers. Where an item allows several behaviours, the tested one is intended.
"""

import contextlib
import csv
import json
import signal
import socket
import time
import urllib.error
import urllib.request

import pytest
from websockets.exceptions import WebSocketException

from nostr_wire import RelayConnection, signed
from processes import eventually
from sandbox import REPOSITORY, Sandbox

LIST = REPOSITORY / "Tests/Vectors/relay-tester-items.csv"

ITEMS = {
    "Nip11Provided",
    "ClaimsSupportForNip11",
    "ClaimsSupportForNip96",
    "MaxConnections",
    "AllowsImmediateReconnect",
    "NoTimeoutWhileSubscribed",
    "IdleTimeoutIfUnsubscribed",
}
"""The items that are covered here. RelayItemCoverage.swift has the same list."""

CHECKED = {}
"""The test that covers each item."""


def checks(*items):
    """Declares which items of the list a test covers."""

    def note(test):
        for item in items:
            assert item not in CHECKED, f"{item} is checked twice"
            CHECKED[item] = test.__name__
        return test

    return note


# Shared fixtures and helpers


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A sandbox for all tests. Each test uses its own keys, so that it does not see the events of others."""
    sandbox = Sandbox(tmp_path_factory.mktemp("conformance"))
    try:
        yield sandbox
    finally:
        sandbox.close()
    assert sandbox.leaked_secrets() == []


@pytest.fixture(scope="module")
def relay(shared):
    return shared.relay()


@pytest.fixture
def keys(shared):
    return shared.keys()


@pytest.fixture(scope="module", autouse=True)
def idle(shared, relay):
    """Opens two connections at the start that stay silent, one with a subscription and one without."""
    author = shared.keys()
    with RelayConnection(relay.url) as subscribed, RelayConnection(relay.url) as unsubscribed:
        assert subscribed.subscribe("idle", of(author)) == []
        unsubscribed.receive(("AUTH",))
        yield author, subscribed, unsubscribed, time.monotonic()


def of(keys):
    """Returns a filter for the events of an author."""
    return {"authors": [keys.public_key().to_hex()]}


def get(relay, path="/", accept="application/nostr+json"):
    request = urllib.request.Request(f"http://{relay.address}{path}", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=30) as response:
        return response.headers, response.read()


def information(relay):
    return json.loads(get(relay)[1])


def test_every_item_is_one_of_the_list_and_is_checked():
    with LIST.open(newline="") as file:
        assert {row["item"] for row in csv.DictReader(file)} >= ITEMS
    assert CHECKED.keys() == ITEMS


# The information document (NIP-11)


@checks("Nip11Provided")
def test_information_document_is_provided(relay):
    headers, body = get(relay)
    assert headers["Content-Type"] == "application/nostr+json"
    assert headers["Access-Control-Allow-Origin"] == "*"
    document = json.loads(body)
    assert document["name"] and document["description"] and document["software"]
    assert document["limitation"]["auth_required"] is False
    # Clients that do not ask for the document get a text page.
    headers, _ = get(relay, accept="text/html")
    assert headers["Content-Type"].startswith("text/plain")


def describes_itself(relay):
    return get(relay)[0]["Content-Type"] == "application/nostr+json"


def stores_files(relay):
    try:
        get(relay, "/.well-known/nostr/nip96.json", "application/json")
    except urllib.error.HTTPError as error:
        error.close()
        assert error.code == 404
        return False
    return True


# For each item: the NIP, whether the relay claims it, a probe, and the expected result of the probe.
CLAIMS = {
    "ClaimsSupportForNip11": (11, True, describes_itself, True),
    "ClaimsSupportForNip96": (96, False, stores_files, False),
}


@checks(*CLAIMS)
@pytest.mark.parametrize("item", CLAIMS)
def test_relay_claims_what_it_does(relay, item):
    nip, is_claimed, probe, does = CLAIMS[item]
    assert (nip in information(relay)["supported_nips"]) is is_claimed
    assert probe(relay) is does


# Deletion (NIP-09)


def test_deletion_of_a_deletion_has_no_effect_after_a_restart(shared, keys):
    note = signed(keys, 1, "deleted for good")
    first = signed(keys, 5, tags=[["e", note["id"]]])
    relay = shared.relay("--store", "deletions.sqlite")
    with RelayConnection(relay.url) as raw:
        for event in (note, first, signed(keys, 5, tags=[["e", first["id"]]], created_at=int(time.time()) - 100)):
            raw.accepts(event)
    relay.process.send(signal.SIGTERM)
    relay.process.wait()
    with RelayConnection(shared.relay("--store", "deletions.sqlite").url) as raw:
        assert raw.subscribe("by id", {"ids": [first["id"]]}) == [first]
        raw.refuses(note, "blocked:")


# Connections


@contextlib.contextmanager
def connected(relay, count):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(RelayConnection(relay.url)) for _ in range(count)]


def opens(relay):
    try:
        with RelayConnection(relay.url) as raw:
            return raw.receive(("AUTH",))
    except (WebSocketException, EOFError, OSError):
        return None


@checks("MaxConnections")
def test_connections_are_as_many_as_the_option_says(shared, keys):
    relay = shared.relay("--max-connections", "3")
    with connected(relay, 3) as connections:
        assert not opens(relay)
        # Existing connections are not affected.
        for raw in connections:
            assert raw.subscribe("notes", of(keys)) == []
        connections[0].close()
        eventually(lambda: opens(relay))


@checks("AllowsImmediateReconnect")
def test_reconnecting_at_once_is_welcome(relay, keys):
    for number in range(20):
        with RelayConnection(relay.url) as raw:
            raw.accepts(signed(keys, 1, str(number)))
            if number % 2:
                # End without a closing handshake.
                raw.socket.socket.shutdown(socket.SHUT_RDWR)


@checks("NoTimeoutWhileSubscribed", "IdleTimeoutIfUnsubscribed")
def test_silent_clients_are_not_disconnected(relay, idle):
    """The relay has no timeout for clients that answer its pings, subscribed or not.

    The connections are observed from the start of this file's tests, for at least ten seconds.
    """
    author, subscribed, unsubscribed, start = idle
    for raw in (subscribed, unsubscribed):
        with pytest.raises(TimeoutError):
            # No message arrives, and the connection stays open.
            raw.socket.recv(timeout=max(0, start + 10 - time.monotonic()))
    event = signed(author, 1, "at last")
    with RelayConnection(relay.url) as publisher:
        publisher.accepts(event)
    assert subscribed.next_event("idle") == event
    assert unsubscribed.subscribe("first", of(author)) == [event]
