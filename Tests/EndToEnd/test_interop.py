# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""nws with other implementations of clients, exits and relays, which know only the NIPs."""

import json
import time
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from nostr_sdk import Event, Filter, Kind, Nip19Profile
from websockets.exceptions import ConnectionClosed

from backends import content, echo, read_exactly
from nostr_wire import RelayConnection, signed, signed_by_hand
from plain_nip74 import KIND, MEMBERS, PlainClient, PlainExit, ScriptedExit
from processes import eventually
from programs import Curl
from raw_socks import open_stream
from sdk_client import with_sdk_client
from transcripts import Transcript, data_of

MOST_DATA = 30_555
UNTIL_FIRST_DATA = 0.25
# How long after CONNECT the reference has subscribed, in seconds.
REFERENCE_SUBSCRIBES = 0.02


# A plain NIP-74 client with an nws exit


@pytest.fixture(params=["our relay", "rust relay"])
def relay(request, sandbox):
    return sandbox.relay() if request.param == "our relay" else sandbox.rust_relay()


def plain_client(sandbox, relay, backend):
    exit_node = sandbox.exit([relay.url], backend)
    return sandbox.closing(PlainClient(relay.url, exit_node.pubkey, exit_node.name)), exit_node


def get(path):
    return f"GET {path} HTTP/1.1\r\nHost: backend\r\nConnection: close\r\n\r\n".encode()


def test_plain_client_gets_its_answer_and_then_the_end(sandbox, relay, http):
    client, _ = plain_client(sandbox, relay, http.address)
    client.connect()
    client.send(get("/bytes/1000"))
    data, close = client.receive_to_close()
    assert data.startswith(b"HTTP/1.1 200") and data.endswith(content(1000))
    with pytest.raises(ValueError):
        json.loads(close)


def test_parallel_plain_clients_that_subscribe_after_their_request_get_their_answers(sandbox, http):
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url], http.address)

    def fetch(_):
        # As the reference does: the subscription follows the request, and the exit may have answered before it.
        with PlainClient(relay.url, exit_node.pubkey, exit_node.name, subscribes=False) as client:
            client.send_at_once(None, "CONNECT")
            client.send_at_once(get("/bytes/1000"))
            time.sleep(REFERENCE_SUBSCRIBES)
            client.subscribe()
            data, _ = client.receive_to_close()
            return data.endswith(content(1000))

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(fetch, range(160))) == 160


def test_plain_client_gets_bulk_in_messages_that_it_can_read(sandbox, relay, http):
    client, _ = plain_client(sandbox, relay, http.address)
    client.connect()
    client.send(get("/bytes/100000"))
    data, _ = client.receive_to_close()
    assert data.endswith(content(100_000))
    assert all(len(data_of(message)) <= MOST_DATA for message in client.messages)


def test_plain_client_gets_nothing_but_what_the_reference_sends(sandbox, relay, http):
    client, exit_node = plain_client(sandbox, relay, http.address)
    client.connect()
    client.send(get("/bytes/1000"))
    client.receive_to_close()
    for message in client.messages:
        assert message.keys() <= MEMBERS
        assert (message["key"], message["type"]) == (client.key, "SOCKS5RESPONSE")
        assert Nip19Profile.from_bech32(message["destination"]).public_key() == client.keys.public_key()
    for event in client.events:
        assert (event["kind"], event["pubkey"], event["tags"]) == (KIND, exit_node.pubkey, [["p", client.pubkey]])
        assert Event.from_json(json.dumps(event)).verify()


def test_client_that_says_data_is_answered_with_data(sandbox, relay, serve):
    client, _ = plain_client(sandbox, relay, serve(echo).address)
    client.connect()
    client.send(b"hello", "DATA")
    assert client.receive_data(5) == b"hello"
    assert {message["type"] for message in client.messages} == {"DATA"}


@pytest.mark.parametrize("data", [b"first of all", "first of all"], ids=["base64", "text"])
def test_data_inside_connect_is_delivered_first(sandbox, relay, serve, data):
    client, _ = plain_client(sandbox, relay, serve(echo).address)
    client.connect(data)
    # A stream that has used the text form continues to use it.
    client.send(*((b" - second",) if isinstance(data, bytes) else (" - second", "DATA")))
    assert client.receive_data(21) == b"first of all - second"


def test_message_without_members_that_may_miss_and_with_unknown_ones_is_understood(sandbox, relay, serve):
    client, _ = plain_client(sandbox, relay, serve(echo).address)
    for message in ({"type": "CONNECT"}, {"type": "NEWS"}, {"type": "SOCKS5RESPONSE", "data": "aGVsbG8="}):
        text = json.dumps({"colour": {"deep": [1]}, **message, "key": client.key})
        client.relay.accepts(client.seal(client.exit, text))
    assert client.receive_data(5) == b"hello"


def test_stream_belongs_to_the_key_that_opened_it(sandbox, relay, serve):
    client, exit_node = plain_client(sandbox, relay, serve(echo).address)
    client.connect()
    with PlainClient(relay.url, exit_node.pubkey, exit_node.name) as thief:
        thief.key = client.key
        thief.send(b"injected")
    client.send(b"own")
    assert client.receive_data(3) == b"own"


def test_our_exit_dials_nothing_but_its_backend(sandbox, relay, serve):
    elsewhere = []
    target = serve(elsewhere.append).address
    client, _ = plain_client(sandbox, relay, serve(echo).address)
    reverse = {"key": str(uuid.uuid4()), "type": "CONNECTR", "destination": target, "entryPublicAddress": target}
    client.relay.accepts(client.seal(client.exit, json.dumps(reverse)))
    client.destination = target
    client.connect()
    client.send(b"hello")
    assert client.receive_data(5) == b"hello"
    assert elsewhere == []


# An nws entry with a plain NIP-74 exit


@pytest.mark.parametrize("answer_type", ["SOCKS5RESPONSE", "DATA"])
def test_our_entry_fetches_from_a_plain_exit(sandbox, relay, http, answer_type):
    exit_node = sandbox.closing(PlainExit(relay.url, http.address, answer_type))
    (name,) = sandbox.succeed("name", "encode", "--relay", relay.url, exit_node.pubkey)
    assert Curl(sandbox, sandbox.entry(), name, "/bytes/1000").body() == content(1000)
    opened, connect = exit_node.received[0]
    assert (connect["type"], connect["destination"]) == ("CONNECT", name)
    assert "data" not in connect
    # Repeated session offers have a message type that the reference ignores.
    first, data = next(entry for entry in exit_node.received[1:] if entry[1]["type"] != "OFFER")
    kinds = [message["type"] for _, message in exit_node.received]
    assert kinds.count("CONNECT") == 1
    assert kinds.count("OFFER") >= 3
    assert (data["type"], data["destination"], data["key"]) == ("SOCKS5RESPONSE", name, connect["key"])
    assert first - opened >= UNTIL_FIRST_DATA


# Transcripts of the reference

transcripts = pytest.mark.parametrize("name", ["A_http_get", "B_echo_backend_close"])


@transcripts
def test_our_exit_answers_the_recorded_entry(sandbox, serve, name):
    transcript = Transcript(name)
    last_answer = max(index for index, (who, _) in enumerate(transcript.steps) if who == "exit")

    def recorded(connection):
        for who, message in transcript.steps[: last_answer + 1]:
            data = data_of(message)
            if who == "exit":
                connection.sendall(data)
            else:
                assert read_exactly(connection, len(data)) == data

    client, exit_node = plain_client(sandbox, sandbox.relay(), serve(recorded).address)
    answered = 0
    for who, message in transcript.steps[: last_answer + 1]:
        if who == "client":
            text = json.dumps({**message, "destination": exit_node.name}, separators=(",", ":"))
            client.key = message["key"]
            client.relay.accepts(client.seal(client.exit, text))
        else:
            answered += len(data_of(message))
            client.receive_data(answered)
    data, _ = client.receive_to_close()
    assert data == transcript.sent_by("exit")
    assert {message["type"] for message in client.messages} == {"SOCKS5RESPONSE"}


@transcripts
def test_our_entry_understands_the_recorded_exit(sandbox, name):
    transcript = Transcript(name)
    script = [("send", message) if who == "exit" else ("expect", data_of(message)) for who, message in transcript.steps]
    relay = sandbox.relay()
    exit_node = sandbox.closing(ScriptedExit(relay.url, script))
    (host,) = sandbox.succeed("name", "encode", "--relay", relay.url, exit_node.pubkey)
    received = b""
    with open_stream(sandbox.entry().address, host) as client:
        for who, message in transcript.steps:
            if who == "client":
                client.socket.sendall(data_of(message))
            else:
                received += read_exactly(client.socket, len(data_of(message)))
        eventually(lambda: not exit_node.script)
    assert received == transcript.sent_by("exit")


# The client of nostr-sdk with an nws relay


def test_sdk_client_publishes_and_fetches_a_note(sandbox):
    keys = sandbox.keys()

    async def work(publish, fetch):
        identifier = await publish(keys, 1, "a note")
        assert await fetch(Filter().id(identifier)) == ["a note"]
        assert await fetch(Filter().author(keys.public_key()).kind(Kind(1))) == ["a note"]
        assert await fetch(Filter().author(sandbox.keys().public_key())) == []

    with_sdk_client(sandbox.relay().url, work)


def test_sdk_client_sees_a_replaceable_event_replaced(sandbox):
    keys = sandbox.keys()

    async def work(publish, fetch):
        with RelayConnection(url) as relay:
            relay.accepts(signed(keys, 0, "old", created_at=int(time.time()) - 10))
        await publish(keys, 0, "new")
        assert await fetch(Filter().author(keys.public_key()).kind(Kind(0))) == ["new"]

    url = sandbox.relay().url
    with_sdk_client(url, work)


def test_sdk_client_sees_a_deleted_event_gone(sandbox):
    keys = sandbox.keys()

    async def work(publish, fetch):
        identifier = await publish(keys, 1, "a mistake")
        await publish(keys, 1, "not one")
        await publish(keys, 5, "", ["e", identifier.to_hex()])
        assert await fetch(Filter().author(keys.public_key()).kind(Kind(1))) == ["not one"]

    with_sdk_client(sandbox.relay().url, work)


# The information document (NIP-11)


def information(relay):
    request = urllib.request.Request(f"http://{relay.address}/", headers={"Accept": "application/nostr+json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return response.headers, json.load(response)


def test_information_document_says_what_the_relay_is(sandbox):
    headers, document = information(sandbox.relay("--name", "a relay of mine"))
    assert headers["Content-Type"].startswith("application/nostr+json")
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert document["name"] == "a relay of mine"
    assert {1, 11, 42} <= set(document["supported_nips"])


def test_longest_message_is_what_the_information_document_says(sandbox):
    relay = sandbox.relay()
    most = information(relay)[1]["limitation"]["max_message_length"]
    start, end = '["REQ","long",{"kinds":[1]}', "]"
    with RelayConnection(relay.url) as connection:
        connection.socket.send(start + " " * (most - len(start) - len(end)) + end)
        assert connection.receive(("EOSE", "long"), ("NOTICE",), ("CLOSED",))[0] == "EOSE"
    with RelayConnection(relay.url) as connection:
        try:
            connection.socket.send(start + " " * (most + 1 - len(start) - len(end)) + end)
            assert connection.receive(("EOSE", "long"), ("NOTICE",), ("CLOSED",))[0] != "EOSE"
        except ConnectionClosed:
            pass
    with RelayConnection(relay.url) as connection:
        assert connection.subscribe("after", {"kinds": [1]}) == []


def test_longest_event_is_what_the_information_document_says(sandbox):
    relay, keys = sandbox.relay(), sandbox.keys()
    most = information(relay)[1]["limitation"]["max_event_length"]
    rest = len(json.dumps(signed(keys, 1, ""), separators=(",", ":")))
    with RelayConnection(relay.url) as connection:
        connection.accepts(signed(keys, 1, "x" * (most - rest)))
        connection.refuses(signed(keys, 1, "x" * (most - rest + 1)), "invalid:")


def test_subscription_beyond_the_limit_is_closed(sandbox):
    relay = sandbox.relay()
    most = information(relay)[1]["limitation"]["max_subscriptions"]
    with RelayConnection(relay.url) as connection:
        for number in range(most):
            assert connection.subscribe(f"s{number}", {"kinds": [1]}) == []
        connection.send("REQ", "one too many", {"kinds": [1]})
        assert connection.receive(("EOSE", "one too many"), ("CLOSED", "one too many"))[0] == "CLOSED"
        connection.send("CLOSE", "s0")
        assert connection.subscribe("in its place", {"kinds": [1]}) == []


# The relay, message by message


@pytest.fixture
def raw(sandbox):
    """A raw connection to an nws relay."""
    return sandbox.closing(RelayConnection(sandbox.relay().url))


def test_valid_event_is_taken_stored_and_given_again(sandbox, raw):
    event = signed(sandbox.keys(), 1, 'Grüße \U0001f30d "quoted" \\ /\n', [["t", "é"]])
    raw.accepts(event)
    assert raw.subscribe("by id", {"ids": [event["id"]]}) == [event]


def test_event_sent_twice_is_taken_and_called_a_duplicate(sandbox, raw):
    event = signed(sandbox.keys(), 1, "once")
    raw.accepts(event)
    accepted, text = raw.publish(event)
    assert accepted and text.startswith("duplicate:")


def test_event_with_a_wrong_signature_is_invalid(sandbox, raw):
    first, second = signed(sandbox.keys(), 1, "one"), signed(sandbox.keys(), 1, "two")
    raw.refuses({**first, "sig": second["sig"]}, "invalid:")


def test_event_with_a_wrong_id_is_invalid(sandbox, raw):
    event = signed(sandbox.keys(), 1, "one")
    raw.refuses({**event, "content": "another"}, "invalid:")
    raw.refuses({**event, "id": "0" * 64}, "invalid:")


def test_subscription_gets_new_events_until_it_is_closed(sandbox, raw):
    keys = sandbox.keys()
    assert raw.subscribe("closed soon", {"authors": [keys.public_key().to_hex()]}) == []
    assert raw.subscribe("stays", {"authors": [keys.public_key().to_hex()]}) == []
    first, second = signed(keys, 1, "first"), signed(keys, 1, "second")
    raw.accepts(first)
    assert raw.next_event("closed soon") == first
    assert raw.next_event("stays") == first
    raw.send("CLOSE", "closed soon")
    raw.accepts(second)
    message = raw.receive(("EVENT", "closed soon"), ("EVENT", "stays"))
    assert message[1:] == ["stays", second]


@pytest.mark.parametrize("text", ["", "nonsense", "{}", "[]", '["NEWS"]', '["REQ"]', '["EVENT",{}]', "[" * 50_000])
def test_garbage_is_survived(sandbox, raw, text):
    try:
        raw.socket.send(text)
        raw.accepts(signed(sandbox.keys(), 1, "after it"))
    except ConnectionClosed:
        pass
    with RelayConnection(raw.url) as other:
        other.accepts(signed(sandbox.keys(), 1, "on another connection"))


def test_ephemeral_events_come_in_order_and_are_not_stored(sandbox, raw):
    keys, receiver = sandbox.keys(), sandbox.keys().public_key().to_hex()
    now = int(time.time())
    # The events must arrive in the order of sending, not sorted by date or id.
    events = [signed(keys, KIND, str(number), [["p", receiver]], now - number % 7) for number in range(500)]
    others = signed(keys, KIND, "for another", [["p", keys.public_key().to_hex()]])
    query = {"kinds": [KIND], "#p": [receiver]}
    with RelayConnection(raw.url) as listener:
        assert listener.subscribe("live", query) == []
        for event in (others, *events):
            raw.send("EVENT", event)
        assert [listener.next_event("live")["content"] for _ in events] == [str(number) for number in range(500)]
        for event in events:
            assert raw.receive(("OK", event["id"]))[2] is True
        assert listener.subscribe("late", query) == []


def test_protected_event_needs_its_author(sandbox):
    relay, keys, other = sandbox.relay(), sandbox.keys(), sandbox.keys()
    event = signed(keys, 1, "mine alone", [["-"]])
    with RelayConnection(relay.url) as connection:
        connection.refuses(event, "auth-required:")
        connection.authenticate(other, relay.url)
        assert connection.publish(event)[0] is False
    with RelayConnection(relay.url) as connection:
        connection.refuses(event, "auth-required:")
        connection.authenticate(keys, relay.url)
        connection.accepts(event)


def test_expired_event_is_refused(sandbox, raw):
    keys, now = sandbox.keys(), int(time.time())
    raw.refuses(signed_by_hand(keys, 1, "too late", [["expiration", str(now - 10)]], now - 20), "invalid:")
    raw.accepts(signed_by_hand(keys, 1, "in time", [["expiration", str(now + 600)]], now))


def test_authentication_sent_as_an_event_is_refused(sandbox, raw):
    tags = [["relay", "ws://127.0.0.1"], ["challenge", "x"]]
    raw.refuses(signed_by_hand(sandbox.keys(), 22242, "", tags, int(time.time())), "invalid:")


def test_relay_for_tunnels_only_takes_what_tunnels_need(sandbox):
    keys = sandbox.keys()
    with RelayConnection(sandbox.relay("--tunnel-only").url) as connection:
        connection.refuses(signed(keys, 1, "a note"), "blocked:")
        connection.accepts(signed(keys, KIND, "a message", [["p", keys.public_key().to_hex()]]))
