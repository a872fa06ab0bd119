# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Tests of the relay's behaviour for each item of a common list of relay conformance checks.

Each test names the items that it covers. Where an item allows several behaviours, the tested one is intended.
"""

import contextlib
import csv
import hashlib
import json
import random
import signal
import socket
import time
import urllib.error
import urllib.request

import pytest
from websockets.exceptions import WebSocketException

from nostr_wire import RelayConnection, signed, signed_by_hand
from processes import eventually
from sandbox import REPOSITORY, Sandbox

LIST = REPOSITORY / "Tests/Vectors/relay-tester-items.csv"

NOT_APPLYING = {}
"""Items that do not apply to this relay, each with the reason. Currently none."""

CHECKED = {}
"""The test that covers each item."""

DAY = 86_400


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
def raw(relay):
    with RelayConnection(relay.url) as connection:
        yield connection


@pytest.fixture
def keys(shared):
    return shared.keys()


@pytest.fixture
def other_keys(shared):
    return shared.keys()


@pytest.fixture(scope="module", autouse=True)
def idle(shared, relay):
    """Opens two connections at the start that stay silent, one with a subscription and one without."""
    author = shared.keys()
    with RelayConnection(relay.url) as subscribed, RelayConnection(relay.url) as unsubscribed:
        assert subscribed.subscribe("idle", of(author)) == []
        unsubscribed.receive(("AUTH",))
        yield author, subscribed, unsubscribed, time.monotonic()


def now():
    return int(time.time())


def of(keys, **conditions):
    """Returns a filter for the events of an author."""
    return {"authors": [keys.public_key().to_hex()], **conditions}


def address(kind, keys, identifier=""):
    return f"{kind}:{keys.public_key().to_hex()}:{identifier}"


def found(raw, *filters):
    """Returns the ids of the stored events that match, in the relay's order."""
    events = raw.subscribe("found", *filters)
    raw.send("CLOSE", "found")
    return [event["id"] for event in events]


def by_id(raw, event):
    """Returns the stored event with this id, or None."""
    events = raw.subscribe("by id", {"ids": [event["id"]]})
    raw.send("CLOSE", "by id")
    return events[0] if events else None


def send_text(raw, text):
    """Publishes an event exactly as it is written in `text`."""
    raw.socket.send(f'["EVENT",{text}]')


def nothing_came(raw, *heads):
    """Fails if one of the messages has arrived. The relay answers in order, so none can arrive after the barrier."""
    raw.subscribe("barrier", {"limit": 0})
    raw.send("CLOSE", "barrier")
    with pytest.raises(TimeoutError):
        raw.receive(*heads, timeout=0)


def get(relay, path="/", accept="application/nostr+json"):
    request = urllib.request.Request(f"http://{relay.address}{path}", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=30) as response:
        return response.headers, response.read()


def information(relay):
    return json.loads(get(relay)[1])


def test_every_item_of_the_list_is_checked_or_does_not_apply():
    with LIST.open(newline="") as file:
        items = [row["item"] for row in csv.DictReader(file)]
    assert len(items) == len(set(items))
    assert not CHECKED.keys() & NOT_APPLYING.keys()
    assert set(items) == CHECKED.keys() | NOT_APPLYING.keys()


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


def guards(kind):
    """Returns a probe for whether events of a kind are withheld from unauthenticated clients."""

    def probe(relay, raw, keys, other):
        event = signed_by_hand(keys, kind, "sealed", [["p", other.public_key().to_hex()]], now())
        raw.accepts(event)
        return by_id(raw, event) is None

    return probe


def deletes(relay, raw, keys, other):
    event = signed(keys, 1, "a mistake")
    raw.accepts(event)
    raw.accepts(signed(keys, 5, tags=[["e", event["id"]]]))
    return by_id(raw, event) is None


def describes_itself(relay, raw, keys, other):
    return get(relay)[0]["Content-Type"] == "application/nostr+json"


def finds_by_delegator(relay, raw, keys, other):
    delegate, conditions = keys.public_key().to_hex(), "kind=1"
    token = hashlib.sha256(f"nostr:delegation:{delegate}:{conditions}".encode()).digest()
    tag = ["delegation", other.public_key().to_hex(), conditions, other.sign_schnorr(token)]
    event = signed_by_hand(keys, 1, "in another's name", [tag], now())
    raw.accepts(event)
    assert found(raw, of(keys)) == [event["id"]]
    return found(raw, of(other)) == [event["id"]]


def makes_groups(relay, raw, keys, other):
    group = f"group{random.randrange(10**12)}"
    raw.accepts(signed_by_hand(keys, 9007, "", [["h", group]], now()))
    return found(raw, {"kinds": [39000], "#d": [group]}) != []


def forgets_what_expired(relay, raw, keys, other):
    raw.refuses(signed_by_hand(keys, 1, "too late", [["expiration", str(now() - 1)]], now() - 10), "invalid:")
    event = signed_by_hand(keys, 1, "for three seconds", [["expiration", str(now() + 3)]], now())
    raw.accepts(event)
    assert by_id(raw, event) == event
    eventually(lambda: by_id(raw, event) is None)
    return True


def recognises_authors(relay, raw, keys, other):
    event = signed(keys, 1, "by its author alone", [["-"]])
    raw.refuses(event, "auth-required:")
    raw.authenticate(keys, relay.url)
    return raw.publish(event)[0]


def counts(relay, raw, keys, other):
    raw.send("COUNT", "how many", of(keys))
    return raw.receive(("COUNT", "how many"), ("CLOSED", "how many"), ("NOTICE",))[0] == "COUNT"


def searches(relay, raw, keys, other):
    needle, hay = (signed(keys, 1, word, created_at=now() - age) for age, word in enumerate(("needle", "hay")))
    raw.accepts(needle)
    raw.accepts(hay)
    result = found(raw, of(keys, search="needle"))
    # The relay ignores unknown members of a filter.
    assert result in ([needle["id"]], [needle["id"], hay["id"]])
    return result == [needle["id"]]


def keeps(kind):
    """Returns a probe for whether events of a kind are stored."""

    def probe(relay, raw, keys, other):
        event = signed_by_hand(keys, kind, "", [["r", "wss://relay.example"]], now())
        raw.accepts(event)
        return by_id(raw, event) == event

    return probe


def stores_files(relay, raw, keys, other):
    try:
        get(relay, "/.well-known/nostr/nip96.json", "application/json")
    except urllib.error.HTTPError as error:
        error.close()
        assert error.code == 404
        return False
    return True


# For each item: the NIP, whether the relay claims it, a probe, and the expected result of the probe. NIP-65 and NIP-94
# require nothing of a relay beyond NIP-01.
CLAIMS = {
    "ClaimsSupportForNip4": (4, False, guards(4), False),
    "ClaimsSupportForNip9": (9, True, deletes, True),
    "ClaimsSupportForNip11": (11, True, describes_itself, True),
    "ClaimsSupportForNip26": (26, False, finds_by_delegator, False),
    "ClaimsSupportForNip29": (29, False, makes_groups, False),
    "ClaimsSupportForNip40": (40, True, forgets_what_expired, True),
    "ClaimsSupportForNip42": (42, True, recognises_authors, True),
    "ClaimsSupportForNip45": (45, False, counts, False),
    "ClaimsSupportForNip50": (50, False, searches, False),
    "ClaimsSupportForNip59": (59, False, guards(1059), False),
    "ClaimsSupportForNip65": (65, False, keeps(10002), True),
    "ClaimsSupportForNip94": (94, False, keeps(1063), True),
    "ClaimsSupportForNip96": (96, False, stores_files, False),
}


@checks(*CLAIMS)
@pytest.mark.parametrize("item", CLAIMS)
def test_relay_claims_what_it_does(relay, raw, keys, other_keys, item):
    nip, is_claimed, probe, does = CLAIMS[item]
    assert (nip in information(relay)["supported_nips"]) is is_claimed
    assert probe(relay, raw, keys, other_keys) is does


def test_relay_claims_nothing_that_is_not_tested(relay):
    # Most of this file tests NIP-01; the authentication tests use protected events (NIP-70).
    claimed = {nip for nip, is_claimed, _, _ in CLAIMS.values() if is_claimed}
    assert set(information(relay)["supported_nips"]) == claimed | {1, 70}


# Subscriptions


@checks("SupportsEose")
def test_stored_events_end_with_eose(raw, keys):
    raw.send("REQ", "nothing", of(keys, limit=10))
    assert raw.receive(("EVENT", "nothing"), ("EOSE", "nothing"), ("CLOSED", "nothing")) == ["EOSE", "nothing"]
    event = signed(keys, 1, "something")
    raw.accepts(event)
    assert raw.subscribe("something", of(keys, limit=10)) == [event]


@checks("ClosesCompleteSubscriptionsAfterEose")
def test_complete_subscription_stays_until_the_client_closes_it(shared, keys):
    event = signed(keys, 1, "the one")
    with RelayConnection(shared.relay("--max-subscriptions", "2").url) as raw:
        raw.accepts(event)
        assert raw.subscribe("complete", {"ids": [event["id"]]}) == [event]
        assert raw.subscribe("hopeless", {"ids": ["de" * 32], "kinds": [1]}) == []
        # Both subscriptions still count.
        raw.send("REQ", "third", of(keys))
        assert raw.receive(("EOSE", "third"), ("CLOSED", "third"))[0] == "CLOSED"
        with pytest.raises(TimeoutError):
            raw.receive(("CLOSED", "complete"), ("CLOSED", "hopeless"), timeout=0)


@checks("KeepsOpenIncompleteSubscriptionsAfterEose")
def test_incomplete_subscription_stays_open(raw, keys):
    assert raw.subscribe("past", of(keys, kinds=[1], until=1_700_000_000, limit=10)) == []
    nothing_came(raw, ("CLOSED", "past"))
    raw.accepts(signed(keys, 1, "today"))
    late = signed(keys, 1, "of the past, and late", created_at=1_600_000_000)
    raw.accepts(late)
    assert raw.next_event("past") == late


@checks("ServesPostEoseEvents")
def test_events_after_eose_are_served_as_they_come(relay, raw, keys, other_keys):
    assert raw.subscribe("live", of(keys, kinds=[1], limit=1)) == []
    wanted = [signed(keys, 1, str(number)) for number in range(3)]
    with RelayConnection(relay.url) as publisher:
        for event in wanted:
            publisher.accepts(signed(other_keys, 1, f"before {event['content']}"))
            publisher.accepts(signed(keys, 7, f"before {event['content']}"))
            publisher.accepts(event)
    # A limit applies only to stored events.
    assert [raw.next_event("live") for _ in wanted] == wanted
    nothing_came(raw, ("EVENT", "live"))


@checks("LimitZero")
def test_limit_zero_wants_live_events_alone(raw, keys):
    raw.accepts(signed(keys, 1, "old"))
    assert raw.subscribe("new alone", of(keys, limit=0)) == []
    event = signed(keys, 1, "new")
    raw.accepts(event)
    assert raw.next_event("new alone") == event


@checks("MaxSubscriptions")
def test_subscriptions_are_as_many_as_the_document_says(shared, keys):
    relay = shared.relay("--max-subscriptions", "3")
    most = information(relay)["limitation"]["max_subscriptions"]
    assert most == 3
    with RelayConnection(relay.url) as raw:
        for number in range(most):
            assert raw.subscribe(f"s{number}", of(keys)) == []
        raw.send("REQ", "too many", of(keys))
        head, _, text = raw.receive(("EOSE", "too many"), ("CLOSED", "too many"))
        assert head == "CLOSED" and text.startswith("restricted:")
        # A REQ with the same id replaces the subscription.
        assert raw.subscribe("s0", of(keys, kinds=[1])) == []
        event = signed(keys, 7, "for all but one")
        raw.accepts(event)
        assert raw.next_event("s1") == raw.next_event("s2") == event
        raw.send("CLOSE", "s1")
        nothing_came(raw, ("EVENT", "s0"), ("EVENT", "too many"))


# Permission to write and read


@checks("PublicCanWrite")
def test_strangers_may_write(relay, raw, keys):
    limitation = information(relay)["limitation"]
    for name in ("auth_required", "restricted_writes", "payment_required"):
        assert limitation[name] is False
    raw.accepts(signed(keys, 1, "a note"))


PUBLIC_LISTS = {"AcceptsRelayListsFromPublic": 10002, "AcceptsDmRelayListsFromPublic": 10050}


@checks(*PUBLIC_LISTS)
@pytest.mark.parametrize("item", PUBLIC_LISTS)
def test_lists_of_strangers_are_kept(raw, keys, item):
    event = signed_by_hand(keys, PUBLIC_LISTS[item], "", [["relay", "wss://relay.example"]], now())
    raw.accepts(event)
    assert found(raw, of(keys, kinds=[PUBLIC_LISTS[item]])) == [event["id"]]


@checks("AcceptsEphemeralEventsFromPublic")
def test_ephemeral_events_of_strangers_are_taken(raw, keys):
    # The relay reports with "mute:" that there are no subscribers, but accepts the event.
    accepted, text = raw.publish(signed(keys, 23195, "to nobody"))
    assert accepted and text.startswith("mute:")
    raw.subscribe("listener", of(keys))
    assert raw.publish(signed(keys, 23195, "to one")) == (True, "")


# For each item: whether the client has authenticated, and whether the events are its own. The relay has no list of
# users: a client is known if it has authenticated, and unknown clients have the same rights.
WRITERS = {
    "UnknownCanWriteOwn": (False, True),
    "UnknownCanWriteOther": (False, False),
    "KnownCanWriteOwn": (True, True),
    "KnownCanWriteOther": (True, False),
}
READERS = {
    "UnknownCanReadbackOwn": (False, True),
    "UnknownCanReadbackOther": (False, False),
    "KnownCanReadbackOwn": (True, True),
    "KnownCanReadbackOther": (True, False),
}


@checks(*WRITERS)
@pytest.mark.parametrize("item", WRITERS)
def test_everybody_may_write(relay, raw, keys, other_keys, item):
    is_known, is_own = WRITERS[item]
    if is_known:
        raw.authenticate(keys, relay.url)
    event = signed(keys if is_own else other_keys, 1, "a note")
    assert raw.publish(event) == (True, "")
    with RelayConnection(relay.url) as reader:
        assert by_id(reader, event) == event


@checks(*READERS)
@pytest.mark.parametrize("item", READERS)
def test_everybody_may_read(relay, raw, keys, other_keys, item):
    is_known, is_own = READERS[item]
    if is_known:
        raw.authenticate(keys, relay.url)
    author = keys if is_own else other_keys
    stored, live = signed(author, 1, "before"), signed(author, 1, "after")
    with RelayConnection(relay.url) as writer:
        writer.accepts(stored)
        assert raw.subscribe("notes", of(author)) == [stored]
        writer.accepts(live)
        assert raw.next_event("notes") == live


UNGUARDED = {"Nip4DmsRequireAuth": 4, "GiftwrapsRequireAuth": 1059}


@checks(*UNGUARDED)
@pytest.mark.parametrize("item", UNGUARDED)
def test_sealed_messages_are_served_to_everybody(relay, raw, keys, other_keys, item):
    """The relay protects no kind: it claims neither NIP-04 nor NIP-59, and the messages are encrypted anyway."""
    receiver = other_keys.public_key().to_hex()
    stored, live = (signed_by_hand(keys, UNGUARDED[item], text, [["p", receiver]], now()) for text in ("one", "two"))
    with RelayConnection(relay.url) as sender:
        sender.accepts(stored)
        assert raw.subscribe("sealed", {"kinds": [UNGUARDED[item]], "#p": [receiver]}) == [stored]
        sender.accepts(live)
        assert raw.next_event("sealed") == live


# Authentication (NIP-42)


def answer_to(relay, challenge, keys, kind=22242, url=None, age=0):
    tags = [["relay", url or relay.url], ["challenge", challenge]]
    return signed_by_hand(keys, kind, "", tags, now() - age)


def authenticate(raw, event):
    raw.send("AUTH", event)
    _, _, accepted, text = raw.receive(("OK", event["id"]))
    return accepted, text


@checks("PromptsForAuthInitially")
def test_challenge_is_the_first_that_comes(relay):
    challenges = set()
    for _ in range(2):
        with RelayConnection(relay.url) as raw:
            head, challenge = json.loads(raw.socket.recv(timeout=30))
            assert head == "AUTH" and len(challenge) >= 32
            challenges.add(challenge)
    assert len(challenges) == 2


@checks("CanAuthAsUnknown", "CanAuthAsKnown")
def test_everybody_may_authenticate(relay, raw, keys, other_keys):
    challenge = raw.receive(("AUTH",))[1]
    # Also a second time, and with another key in addition.
    for who in (keys, keys, other_keys):
        assert authenticate(raw, answer_to(relay, challenge, who)) == (True, "")
    for who in (keys, other_keys):
        raw.accepts(signed(who, 1, "by its author alone", [["-"]]))


WRONG_ANSWERS = {
    "AuthEventKindVerified": [{"kind": 1}, {"kind": 22241}, {"kind": 22243}],
    "AuthEventRelayVerified": [
        {"url": "wss://relay.example"},
        {"url": "ws://127.0.0.1:1/"},
        {"url": "intentionally nothing"},
    ],
    "AuthEventChallengeVerified": [{"challenge": "intentionally nothing"}, {"challenge": ""}],
    "AuthEventTimeVerified": [{"age": 700}, {"age": -700}, {"age": 30 * DAY}],
}


@checks(*WRONG_ANSWERS)
@pytest.mark.parametrize("item", WRONG_ANSWERS)
def test_wrong_answer_to_the_challenge_proves_nothing(relay, raw, keys, item):
    challenge = raw.receive(("AUTH",))[1]
    for mistake in WRONG_ANSWERS[item]:
        accepted, text = authenticate(raw, answer_to(relay, **{"challenge": challenge, "keys": keys, **mistake}))
        assert accepted is False and text.startswith("invalid:"), mistake
        raw.refuses(signed(keys, 1, "by its author alone", [["-"]]), "auth-required:")
    # The correct answer is accepted.
    assert authenticate(raw, answer_to(relay, challenge, keys)) == (True, "")


def test_answer_to_the_challenge_of_another_connection_proves_nothing(relay, raw, keys):
    with RelayConnection(relay.url) as other:
        answer = answer_to(relay, other.receive(("AUTH",))[1], keys)
    assert authenticate(raw, answer)[0] is False
    raw.refuses(signed(keys, 1, "by its author alone", [["-"]]), "auth-required:")


def test_answer_that_somebody_else_signed_proves_nothing(relay, raw, keys, other_keys):
    challenge = raw.receive(("AUTH",))[1]
    answer, forgery = (answer_to(relay, challenge, who) for who in (keys, other_keys))
    assert authenticate(raw, {**answer, "sig": forgery["sig"]})[0] is False
    raw.refuses(signed(keys, 1, "by its author alone", [["-"]]), "auth-required:")


# Events


@checks("SendsOkAfterEvent")
def test_every_event_is_answered(raw, keys):
    event = signed(keys, 1, "a note")
    for accepted, prefix in ((True, ""), (True, "duplicate:")):
        raw.send("EVENT", event)
        answer = raw.receive(("OK",))
        assert answer[:3] == ["OK", event["id"], accepted] and len(answer) == 4
        assert answer[3].startswith(prefix) and bool(answer[3]) is bool(prefix)
    raw.refuses({**event, "sig": "0" * 128}, "invalid:")
    raw.refuses({**event, "kind": -1}, "invalid:")
    raw.refuses({name: value for name, value in event.items() if name != "tags"}, "invalid:")


def test_every_malformed_event_with_an_id_is_answered(raw, keys):
    """NIP-01 requires an OK for every EVENT; a client that sends many events waits for as many OKs."""
    events = [signed_by_hand(keys, 1, str(number), [], -1) for number in range(100)]
    for event in events:
        raw.send("EVENT", event)
    raw.send("REQ", "end", of(keys))
    answers = []
    while (message := raw.receive(("OK",), ("EOSE", "end")))[0] == "OK":
        answers.append(message[1:3])
    assert answers == [[event["id"], False] for event in events]


@checks("VerifiesSignatures")
def test_signatures_are_verified(raw, keys, other_keys):
    event = signed(keys, 1, "a note")
    flipped = f"{int(event['sig'][-1], 16) ^ 1:x}"
    for signature in ("0" * 128, other_keys.sign_schnorr(bytes.fromhex(event["id"])), event["sig"][:-1] + flipped):
        raw.refuses({**event, "sig": signature}, "invalid:")
    assert by_id(raw, event) is None


@checks("VerifiesIdHashes")
def test_ids_are_verified(raw, keys):
    event = signed(keys, 1, "a note")
    for identifier in ("cafebabe" * 8, signed(keys, 1, "another")["id"]):
        wrong = {**event, "id": identifier, "sig": keys.sign_schnorr(bytes.fromhex(identifier))}
        raw.refuses(wrong, "invalid:")
        assert by_id(raw, wrong) is None


# For each item: a function that returns the event's date, in seconds since 1970.
TAKEN_DATES = {
    "AcceptsEventsOneWeekOld": lambda: now() - 7 * DAY,
    "AcceptsEventsOneMonthOld": lambda: now() - 31 * DAY,
    "AcceptsEventsOneYearOld": lambda: now() - 366 * DAY,
    "AcceptsEventsFromBeforeNostr": lambda: 1_420_070_461,
    "AcceptsEventsFromBefore2000": lambda: 915_148_861,
    "AcceptsEventsFrom1970": lambda: 0,
}
REFUSED_DATES = {
    "AcceptsEventsFromBefore1970": lambda: -200,
    "AcceptsEventsOneYearIntoTheFuture": lambda: now() + 365 * DAY,
    "AcceptsEventsInTheDistantFuture": lambda: 2**63 - 1,
    "AcceptsEventsWithCreatedAtGreaterThanSigned32Bit": lambda: 2**31 + 1,
    "AcceptsEventsWithCreatedAtGreaterThanUnsigned32Bit": lambda: 2**32 + 1,
}


@checks(*TAKEN_DATES)
@pytest.mark.parametrize("item", TAKEN_DATES)
def test_events_may_be_as_old_as_they_like(relay, raw, keys, item):
    assert "created_at_lower_limit" not in information(relay)["limitation"]
    event = signed_by_hand(keys, 1, "old", [], TAKEN_DATES[item]())
    raw.accepts(event)
    assert by_id(raw, event) == event


@checks(*REFUSED_DATES)
@pytest.mark.parametrize("item", REFUSED_DATES)
def test_events_may_be_neither_of_the_future_nor_of_before_time(raw, keys, item):
    event = signed_by_hand(keys, 1, "out of time", [], REFUSED_DATES[item]())
    raw.refuses(event, "invalid:")
    assert by_id(raw, event) is None


def test_events_may_be_as_far_ahead_as_the_document_says(relay, raw, keys):
    most = information(relay)["limitation"]["created_at_upper_limit"]
    raw.accepts(signed_by_hand(keys, 1, "soon", [], now() + most - 60))
    raw.refuses(signed_by_hand(keys, 1, "not so soon", [], now() + most + 60), "invalid:")


@checks("AcceptsEventsWithCreatedAtInScientificNotation")
def test_dates_are_plain_integers(raw, keys):
    event = signed_by_hand(keys, 1, "", [], 1_700_000_000)
    for date in ("1.7e9", "1.7E+9", "17e8", "1700000000.0", '"1700000000"'):
        send_text(raw, json.dumps(event).replace("1700000000", date))
        assert raw.receive(("OK", event["id"]))[2] is False, date
    # The same event with a plain integer is accepted.
    raw.accepts(event)


@checks("AcceptsEventsWithEmptyTags")
def test_tags_need_a_name_and_nothing_else(raw, keys):
    # NIP-01: a tag is an array of one or more strings.
    for tags in ([[]], [[], []], [["t", "x"], []]):
        raw.refuses(signed_by_hand(keys, 1, "", tags, now()), "invalid:")
    for tags in ([], [["t"]], [["t", ""]], [[""]]):
        event = signed_by_hand(keys, 1, "", tags, now())
        raw.accepts(event)
        assert by_id(raw, event) == event


@checks("LargeContactLists")
def test_contact_lists_may_be_large(relay, raw, keys):
    """The limit is the length of an event, which allows about 1,800 contacts."""
    limitation = information(relay)["limitation"]
    tag = ["p", keys.public_key().to_hex()]
    room = limitation["max_event_length"] - len(json.dumps(signed(keys, 3), separators=(",", ":")))
    count = room // (len(json.dumps(tag, separators=(",", ":"))) + 1)
    assert 1_500 < count < limitation["max_event_tags"]
    event = signed_by_hand(keys, 3, "", [["p", f"{number:064x}"] for number in range(count)], now())
    raw.accepts(event)
    assert raw.subscribe("contacts", of(keys, kinds=[3])) == [event]
    raw.refuses(signed_by_hand(keys, 3, "", [tag] * (count + 10), now()), "invalid:")
    raw.accepts(signed_by_hand(keys, 1, "", [["t"]] * limitation["max_event_tags"], now()))
    raw.refuses(signed_by_hand(keys, 1, "", [["t"]] * (limitation["max_event_tags"] + 1), now()), "invalid:")


@checks("HandlesEventKindLargerThan16bit")
def test_kinds_have_sixteen_bits(raw, keys):
    raw.accepts(signed_by_hand(keys, 65_535, "", [], now()))
    for kind in (65_536, 65_537, 2**32 + 1, 2**64 + 1):
        raw.refuses(signed_by_hand(keys, kind, "", [], now()), "invalid:")
    assert found(raw, of(keys, kinds=[1])) == []


@checks("HandlesFilterKindLargerThan16bit")
def test_kinds_that_no_event_has_match_nothing(raw, keys):
    event = signed(keys, 1, "a note")
    raw.accepts(event)
    assert found(raw, of(keys, kinds=[65_537, 2**32 + 1])) == []
    assert found(raw, of(keys, kinds=[65_537, 1])) == [event["id"]]


# JSON


def written_with(event, content):
    """Returns the JSON of the event with `content` inserted as it is, for example with unusual escapes."""
    return json.dumps({**event, "content": "@"}, separators=(",", ":")).replace('"@"', f'"{content}"')


@checks("AcceptsNip1JsonEscapeSequences")
def test_escapes_of_nip_01_are_taken(raw, keys):
    event = signed_by_hand(keys, 1, 'lf\n quote" backslash\\ cr\r tab\t bs\b ff\f', [["t", '\n"\\\r\t\b\f']], now())
    text = json.dumps(event, separators=(",", ":"))
    assert r'lf\n quote\" backslash\\ cr\r tab\t bs\b ff\f' in text
    send_text(raw, text)
    assert raw.receive(("OK", event["id"])) == ["OK", event["id"], True, ""]
    assert by_id(raw, event) == event
    assert found(raw, of(keys, **{"#t": ['\n"\\\r\t\b\f']})) == [event["id"]]


@checks("AcceptsUnlistedJsonEscapeSequences")
@pytest.mark.parametrize(
    "content, escaped",
    [
        ("A/\u00e9\U0001f30d", r"\u0041\/\u00E9\ud83c\uDF0D"),
        ('\n"\\', r"\u000a\u0022\u005C"),
        ("".join(map(chr, range(1, 32))), "".join(f"\\u{code:04x}" for code in range(1, 32))),
        ("\x7f\u2028", r"\u007f\u2028"),
    ],
)
def test_other_escapes_of_json_are_taken(raw, keys, content, escaped):
    """The event's id is computed from the unescaped characters."""
    event = signed_by_hand(keys, 1, content, [], now())
    send_text(raw, written_with(event, escaped))
    assert raw.receive(("OK", event["id"])) == ["OK", event["id"], True, ""]
    assert by_id(raw, event) == event


@checks("AcceptsLiteralsForJsonEscapeSequences")
@pytest.mark.parametrize("character", ["\n", "\r", "\t", "\b", "\f", "\0", "\x1f"])
def test_raw_control_characters_are_no_json(raw, keys, character):
    event = signed_by_hand(keys, 1, f"a{character}b", [], now())
    send_text(raw, written_with(event, f"a{character}b"))
    # Invalid JSON has no id, so the answer is a NOTICE instead of an OK.
    head, *rest = raw.receive(("OK",), ("NOTICE",))
    assert head == "NOTICE" and rest[0].startswith("invalid:")
    assert by_id(raw, event) is None
    # With the character escaped, the event is accepted.
    raw.accepts(event)


@checks("AcceptsNullCharacters")
def test_escaped_null_is_a_character_like_others(raw, keys):
    event = signed_by_hand(keys, 1, "before\0after", [["t", "\0"]], now())
    raw.accepts(event)
    assert by_id(raw, event) == event
    assert found(raw, of(keys, **{"#t": ["\0"]})) == [event["id"]]
    assert found(raw, of(keys, **{"#t": [""]})) == []


@checks("AcceptsUtf8NonCharacters")
def test_unicode_noncharacters_are_taken(raw, keys):
    codes = [*range(0xFDD0, 0xFDF0), *(plane << 16 | low for plane in range(17) for low in (0xFFFE, 0xFFFF)), 0x10FFF2]
    event = signed_by_hand(keys, 1, "".join(map(chr, codes)), [["t", "\ufdd1"]], now())
    raw.accepts(event)
    assert by_id(raw, event) == event
    assert found(raw, of(keys, **{"#t": ["\ufdd1"]})) == [event["id"]]


@checks("PreservesJsonFieldOrder")
def test_order_of_members_is_preserved(raw, keys):
    raw.subscribe("live", of(keys))
    events = [signed(keys, 1, str(number), created_at=now() - number) for number in range(5)]
    for event in events:
        names = random.sample(sorted(event), len(event))
        shuffled = {name: event[name] for name in names}
        raw.accepts(shuffled)
        assert list(raw.next_event("live")) == names
        assert list(by_id(raw, event)) == names


@checks("PreservesNonstandardJsonFields")
def test_members_of_other_names_are_preserved(raw, keys):
    event = {"first": None, **signed(keys, 1, "a note"), "ots": "proof", "other": {"deep": [1, -2.5e3, True, "\u00e9"]}}
    raw.subscribe("live", of(keys))
    raw.accepts(event)
    assert raw.next_event("live") == event
    assert by_id(raw, event) == event


# Queries


@pytest.fixture(scope="module")
def library(shared):
    """Starts a relay with a few events; returns it, the events from newest to oldest, and the two authors."""
    anna, bert = shared.keys(), shared.keys()
    to_anna, to_bert = (["p", keys.public_key().to_hex()] for keys in (anna, bert))
    shelves = {
        "answer": (bert, 1, [["t", "red"], to_anna, ["x", "1"]]),
        "note": (anna, 1, [["t", "red"], ["t", "blue"], to_bert]),
        "article": (anna, 30023, [["d", "one"], ["t", "red"], to_bert]),
        "profile": (anna, 0, []),
        "question": (bert, 1, [["t", "blue"], ["r", "red"]]),
    }
    events = {
        name: signed_by_hand(keys, kind, name, tags, 1_700_000_000 - index)
        for index, (name, (keys, kind, tags)) in enumerate(shelves.items())
    }
    relay = shared.relay()
    with RelayConnection(relay.url) as raw:
        for event in random.sample(list(events.values()), len(events)):
            raw.accepts(event)
    return relay, events, anna.public_key().to_hex(), bert.public_key().to_hex()


# For each item: functions that make a filter from the events and the authors, and the names of the events it matches.
FINDS = {
    "FindById": [
        (lambda events, anna, bert: {"ids": [events["note"]["id"]]}, ["note"]),
        (lambda events, anna, bert: {"ids": [events["profile"]["id"], events["answer"]["id"]]}, ["answer", "profile"]),
        (lambda events, anna, bert: {"ids": ["00" * 32]}, []),
        (lambda events, anna, bert: {"ids": []}, []),
    ],
    "FindByPubkeyAndKind": [
        (lambda events, anna, bert: {"authors": [anna], "kinds": [1]}, ["note"]),
        (lambda events, anna, bert: {"authors": [anna, bert], "kinds": [30023, 0]}, ["article", "profile"]),
        (lambda events, anna, bert: {"authors": [bert], "kinds": [0]}, []),
    ],
    "FindByPubkeyAndTags": [
        (lambda events, anna, bert: {"authors": [anna], "#t": ["red"]}, ["note", "article"]),
        (lambda events, anna, bert: {"authors": [bert], "#p": [bert]}, []),
    ],
    "FindByKindAndTags": [
        (lambda events, anna, bert: {"kinds": [1], "#t": ["red"]}, ["answer", "note"]),
        (lambda events, anna, bert: {"kinds": [30023], "#d": ["one"]}, ["article"]),
        (lambda events, anna, bert: {"kinds": [30023], "#d": ["two"]}, []),
    ],
    "FindByTags": [
        (lambda events, anna, bert: {"#t": ["red"]}, ["answer", "note", "article"]),
        (lambda events, anna, bert: {"#t": ["red", "blue"]}, ["answer", "note", "article", "question"]),
        (lambda events, anna, bert: {"#r": ["red"]}, ["question"]),
        (lambda events, anna, bert: {"#t": ["re"]}, []),
    ],
    "FindByMultipleTags": [
        (lambda events, anna, bert: {"#t": ["red"], "#p": [bert]}, ["note", "article"]),
        (lambda events, anna, bert: {"#t": ["red"], "#p": [anna], "#x": ["1"]}, ["answer"]),
        (lambda events, anna, bert: {"#t": ["blue"], "#p": [anna]}, []),
    ],
    "FindByPubkey": [
        (lambda events, anna, bert: {"authors": [anna]}, ["note", "article", "profile"]),
        (lambda events, anna, bert: {"authors": [anna[::-1]]}, []),
    ],
    "FindByScrape": [(lambda events, anna, bert: {}, ["answer", "note", "article", "profile", "question"])],
}


@checks(*FINDS)
@pytest.mark.parametrize("item", FINDS)
def test_events_are_found(library, item):
    relay, events, *people = library
    with RelayConnection(relay.url) as raw:
        for make, names in FINDS[item]:
            query = make(events, *people)
            assert raw.subscribe("query", query) == [events[name] for name in names], query


def test_event_that_two_filters_find_comes_once(library):
    relay, events, anna, bert = library
    with RelayConnection(relay.url) as raw:
        both = raw.subscribe("query", {"authors": [bert]}, {"#t": ["red"]})
        assert both == [events[name] for name in ("answer", "note", "article", "question")]


@checks("EventsOrderedFromNewestToOldest")
def test_newest_events_come_first(raw, keys):
    # Events of the same second are ordered by id, the lowest first.
    events = [signed(keys, 1, str(number), created_at=1_700_000_000 + number // 3) for number in range(12)]
    for event in random.sample(events, len(events)):
        raw.accepts(event)
    ordered = sorted(events, key=lambda event: (-event["created_at"], event["id"]))
    assert found(raw, of(keys)) == [event["id"] for event in ordered]
    assert found(raw, {"ids": [event["id"] for event in events]}) == [event["id"] for event in ordered]


@checks("NewestEventsWhenLimited")
def test_limit_leaves_the_newest(raw, keys):
    parity = ("even", "odd")
    events = [
        signed(keys, 1, str(number), [["t", parity[number % 2]]], 1_700_000_000 - number) for number in range(8)
    ]
    for event in random.sample(events, len(events)):
        raw.accepts(event)
    ids = [event["id"] for event in events]
    assert found(raw, of(keys, limit=2)) == ids[:2]
    assert found(raw, of(keys, limit=3, **{"#t": ["odd"]})) == ids[1::2][:3]
    assert found(raw, of(keys, limit=2, until=events[4]["created_at"])) == ids[4:6]
    assert found(raw, of(keys, limit=100)) == ids


@checks("SinceUntilAreInclusive")
def test_since_and_until_are_inclusive(raw, keys):
    events = [signed(keys, 1, str(number), created_at=1_700_000_000 - number) for number in range(5)]
    for event in events:
        raw.accepts(event)
    ids, middle = [event["id"] for event in events], events[2]["created_at"]
    assert found(raw, of(keys, since=middle)) == ids[:3]
    assert found(raw, of(keys, until=middle)) == ids[2:]
    assert found(raw, of(keys, since=middle, until=middle)) == [ids[2]]
    assert found(raw, of(keys, since=middle + 1, until=middle)) == []
    # This also applies to live events.
    raw.subscribe("live", of(keys, since=100, until=101))
    for date in (99, 100, 101, 102):
        raw.accepts(signed(keys, 1, "late", created_at=date))
    assert [raw.next_event("live")["created_at"] for _ in range(2)] == [100, 101]
    nothing_came(raw, ("EVENT", "live"))


@checks("AcceptsNegativeFilterCreatedAt")
def test_since_and_until_may_be_negative(raw, keys):
    event = signed(keys, 1, "a note", created_at=0)
    raw.accepts(event)
    assert found(raw, of(keys, since=-1)) == [event["id"]]
    assert found(raw, of(keys, since=-(2**63) + 1, until=0)) == [event["id"]]
    assert found(raw, of(keys, until=-1)) == []


@checks("HandlesFilterPrefixes")
def test_ids_and_authors_are_whole(raw, keys):
    event = signed(keys, 1, "a note")
    raw.accepts(event)
    for query in ({"ids": [event["id"][:16]]}, {"authors": [event["pubkey"][:16]]}, {"ids": [event["id"][:63]]}):
        raw.send("REQ", "prefix", query)
        head, _, text = raw.receive(("EVENT", "prefix"), ("EOSE", "prefix"), ("CLOSED", "prefix"))
        assert head == "CLOSED" and text.startswith("invalid:")


# Ephemeral events


@checks("EphemeralSubscriptionsWork")
def test_ephemeral_events_are_handed_on(relay, raw, keys):
    events = [signed_by_hand(keys, kind, "now", [["test"]], now()) for kind in (20_000, 25_000, 29_999)]
    assert raw.subscribe("live", of(keys, kinds=[20_000, 25_000, 29_999])) == []
    with RelayConnection(relay.url) as publisher:
        for event in events:
            assert publisher.publish(event) == (True, "")
    assert [raw.next_event("live") for _ in events] == events


@checks("PersistsEphemeralEvents")
def test_ephemeral_events_are_not_kept(raw, keys):
    for kind in (20_000, 25_001, 29_999):
        event = signed_by_hand(keys, kind, "gone", [["test"]], now())
        raw.accepts(event)
        assert by_id(raw, event) is None
    # Events of the neighbouring kinds are stored.
    kept = [signed_by_hand(keys, kind, "kept", [["d", "x"]], now()) for kind in (19_999, 30_000)]
    for event in kept:
        raw.accepts(event)
    assert sorted(found(raw, of(keys))) == sorted(event["id"] for event in kept)


# Replaceable and addressable events


# For each item: a kind of which the newest event replaces older ones.
REPLACED = {
    "ReplacesMetadata": 0,
    "ReplacesContactlist": 3,
    "ReplaceableEventRemovesPrevious": 10_003,
    "AddressableEventRemovesPrevious": 30_023,
}
REJECTED = {"ReplaceableEventRejectedIfFuture": 10_003, "AddressableEventRejectedIfFuture": 30_023}


def versions(keys, kind, identifier="x"):
    """Returns an older and a newer version of an event."""
    tags = [["d", identifier]] if kind >= 30_000 else []
    return [signed_by_hand(keys, kind, text, tags, now() - age) for age, text in ((20, "older"), (10, "newer"))]


@checks("AcceptsMetadata", "AcceptsContactlist")
@pytest.mark.parametrize("kind", [0, 3])
def test_profiles_and_contacts_are_kept(raw, keys, kind):
    content = json.dumps({"name": "somebody"}) if kind == 0 else ""
    event = signed_by_hand(keys, kind, content, [["p", keys.public_key().to_hex()]], now())
    raw.accepts(event)
    assert by_id(raw, event) == event


@checks(*REPLACED)
@pytest.mark.parametrize("item", REPLACED)
def test_newer_event_replaces_the_older(raw, keys, other_keys, item):
    kind = REPLACED[item]
    older, newer = versions(keys, kind)
    others = [versions(other_keys, kind)[0], versions(keys, 30_024)[0], versions(keys, 30_023, "y")[0]]
    for event in (*others, older, newer):
        raw.accepts(event)
    assert found(raw, {"ids": [older["id"], newer["id"]]}) == [newer["id"]]
    # Events of other authors, kinds and identifiers are not replaced.
    assert sorted(found(raw, {"ids": [event["id"] for event in others]})) == sorted(event["id"] for event in others)


@checks(*REJECTED)
@pytest.mark.parametrize("item", REJECTED)
def test_older_event_is_refused_after_the_newer(raw, keys, item):
    older, newer = versions(keys, REJECTED[item])
    raw.subscribe("live", of(keys))
    raw.accepts(newer)
    raw.refuses(older, "invalid:")
    assert found(raw, of(keys)) == [newer["id"]]
    assert raw.next_event("live") == newer
    nothing_came(raw, ("EVENT", "live"))


@pytest.mark.parametrize("kind", [10_003, 30_023])
@pytest.mark.parametrize("lower_first", [True, False])
def test_of_one_second_the_lower_id_is_kept(raw, keys, kind, lower_first):
    events = [signed_by_hand(keys, kind, text, [["d", "x"]], 1_700_000_000) for text in ("one", "two")]
    lower, higher = sorted(events, key=lambda event: event["id"])
    if lower_first:
        raw.accepts(lower)
        raw.refuses(higher, "invalid:")
    else:
        raw.accepts(higher)
        raw.accepts(lower)
    assert found(raw, of(keys)) == [lower["id"]]


@checks("ReplacedEventsStillAvailableById")
def test_replaced_events_are_gone(raw, keys):
    for kind in (0, 3, 10_003, 30_023):
        older, newer = versions(keys, kind)
        raw.accepts(older)
        assert by_id(raw, older) == older
        raw.accepts(newer)
        assert by_id(raw, older) is None


@checks("FindReplaceableEvent")
def test_replaceable_event_is_found(raw, keys):
    older, newer = versions(keys, 10_003)
    raw.accepts(older)
    raw.accepts(newer)
    assert raw.subscribe("list", of(keys, kinds=[10_003])) == [newer]


@checks("FindAddressableEvent")
def test_addressable_event_is_found(raw, keys):
    older, newer = versions(keys, 30_023)
    raw.accepts(older)
    raw.accepts(newer)
    assert raw.subscribe("by kind", of(keys, kinds=[30_023])) == [newer]
    assert raw.subscribe("by address", of(keys, kinds=[30_023], **{"#d": ["x"]})) == [newer]
    # A missing d tag counts as an empty identifier.
    nameless = signed_by_hand(keys, 30_023, "nameless", [], now() - 30)
    raw.accepts(nameless)
    assert raw.subscribe("nameless", of(keys, kinds=[30_023], **{"#d": [""]})) == [nameless]
    assert found(raw, of(keys, kinds=[30_023])) == [newer["id"], nameless["id"]]


# Deletion (NIP-09)


def article(keys, identifier, age, kind=30_023):
    return signed_by_hand(keys, kind, "an article", [["d", identifier]], now() - age)


def deletion(keys, *tags, age=0):
    return signed_by_hand(keys, 5, "", list(tags), now() - age)


@checks("DeleteById")
def test_events_are_deleted_by_id(raw, keys):
    events = [signed(keys, 1, text) for text in ("one", "two", "kept")] + [article(keys, "one", 10)]
    for event in events:
        raw.accepts(event)
    request = deletion(keys, *(["e", event["id"]] for event in (events[0], events[1], events[3])))
    raw.accepts(request)
    assert found(raw, {"ids": [event["id"] for event in events]}) == [events[2]["id"]]
    # The deletion request itself is stored, so that others learn of it.
    assert by_id(raw, request) == request


@checks("DeleteByAddr")
def test_events_are_deleted_by_address(raw, keys):
    event = article(keys, "with:a:colon", 10)
    profile = signed_by_hand(keys, 0, "{}", [], now() - 10)
    for wrong in (event, profile):
        raw.accepts(wrong)
        assert by_id(raw, wrong) == wrong
    raw.accepts(deletion(keys, ["a", address(30_023, keys, "with:a:colon")], ["a", address(0, keys)]))
    assert found(raw, of(keys, kinds=[0, 30_023])) == []


@checks("DeleteByAddrOnlyDeletesOlder")
def test_deletion_by_address_spares_what_is_newer(raw, keys):
    older, newer, other = article(keys, "one", 300), article(keys, "one", 60), article(keys, "two", 300)
    for event in (older, newer, other):
        raw.accepts(event)
    raw.accepts(deletion(keys, ["a", address(30_023, keys, "one")], ["a", address(30_023, keys, "two")], age=180))
    assert found(raw, of(keys, kinds=[30_023])) == [newer["id"]]


@checks("DeleteByAddrIsBoundByTag")
def test_deletion_by_address_spares_other_addresses(raw, keys, other_keys):
    gone = article(keys, "one", 10)
    kept = [article(other_keys, "one", 10), article(keys, "one more", 10), article(keys, "one", 10, kind=30_024)]
    for event in (gone, *kept):
        raw.accepts(event)
    raw.accepts(deletion(keys, ["a", address(30_023, keys, "one")]))
    rest = found(raw, {"ids": [event["id"] for event in (gone, *kept)]})
    assert sorted(rest) == sorted(event["id"] for event in kept)


# A deletion request is stored even if it refers to unknown events, which may arrive later. It never affects events of
# other authors.
@checks("DeleteByIdOfOthers")
def test_others_cannot_delete_by_id(raw, keys, other_keys):
    event, later = signed(other_keys, 1, "not yours"), signed(other_keys, 1, "not yours either")
    raw.accepts(event)
    raw.accepts(deletion(keys, ["e", event["id"]], ["e", later["id"]]))
    assert by_id(raw, event) == event
    raw.accepts(later)
    assert by_id(raw, later) == later


@checks("DeleteByAddrOfOthers")
def test_others_cannot_delete_by_address(raw, keys, other_keys):
    event, later = article(other_keys, "one", 10), article(other_keys, "two", 10)
    raw.accepts(event)
    raw.accepts(deletion(keys, *(["a", address(30_023, other_keys, name)] for name in ("one", "two"))))
    assert by_id(raw, event) == event
    raw.accepts(later)
    assert by_id(raw, later) == later


@checks("ResubmissionOfDeletedById")
def test_deleted_event_stays_deleted(raw, keys):
    event, early = signed(keys, 1, "deleted"), signed(keys, 1, "deleted before it came")
    raw.accepts(event)
    raw.accepts(deletion(keys, ["e", event["id"]], ["e", early["id"]]))
    raw.subscribe("live", {"ids": [event["id"], early["id"]]})
    for again in (event, early):
        raw.refuses(again, "blocked:")
        assert by_id(raw, again) is None
    nothing_came(raw, ("EVENT", "live"))


@checks("ResubmissionOfOlderDeletedByAddr")
def test_deleted_address_takes_nothing_older(raw, keys):
    event = article(keys, "one", 300)
    raw.accepts(event)
    raw.accepts(deletion(keys, ["a", address(30_023, keys, "one")], age=120))
    # Neither the deleted version nor any other version from before the deletion is accepted.
    for again in (event, article(keys, "one", 200)):
        raw.refuses(again, "blocked:")
    assert found(raw, of(keys, kinds=[30_023])) == []


@checks("SubmissionOfNewerDeletedByAddr")
def test_deleted_address_takes_what_is_newer(raw, keys):
    raw.accepts(article(keys, "one", 300))
    raw.accepts(deletion(keys, ["a", address(30_023, keys, "one")], age=120))
    newer = article(keys, "one", 60)
    raw.accepts(newer)
    assert found(raw, of(keys, kinds=[30_023])) == [newer["id"]]


@checks("DeletePropogatesToReferrers")
def test_deletion_spares_what_refers_to_the_event(raw, keys, other_keys):
    event = signed(keys, 1, "a note")
    referrers = [signed(who, 7, "+", [["e", event["id"]]]) for who in (keys, other_keys)]
    for published in (event, *referrers, deletion(keys, ["e", event["id"]])):
        raw.accepts(published)
    assert by_id(raw, event) is None
    assert sorted(found(raw, {"kinds": [7], "#e": [event["id"]]})) == sorted(reaction["id"] for reaction in referrers)


def test_deletion_of_a_deletion_has_no_effect(raw, keys):
    """As NIP-09 says, whether it arrives after the deletion that it refers to or before."""
    note = signed(keys, 1, "deleted for good")
    first, second = deletion(keys, ["e", note["id"]]), deletion(keys, ["e", "ab" * 32])
    raw.accepts(note)
    raw.accepts(first)
    raw.accepts(deletion(keys, ["e", first["id"]], ["e", second["id"]]))
    assert by_id(raw, first) == first
    raw.refuses(note, "blocked:")
    raw.accepts(second)


def test_deletion_of_a_deletion_has_no_effect_after_a_restart(shared, keys):
    note = signed(keys, 1, "deleted for good")
    first = deletion(keys, ["e", note["id"]])
    relay = shared.relay("--store", "deletions.sqlite")
    with RelayConnection(relay.url) as raw:
        for event in (note, first, deletion(keys, ["e", first["id"]], age=100)):
            raw.accepts(event)
    relay.process.send(signal.SIGTERM)
    relay.process.wait()
    with RelayConnection(shared.relay("--store", "deletions.sqlite").url) as raw:
        assert by_id(raw, first) == first
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
