# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""The Nostr protocol on the wire: signed events and a raw connection to a relay."""

import base64
import contextlib
import hashlib
import json
import os
import time

from nostr_sdk import EventBuilder, Kind, Tag, Timestamp
from websockets.sync.client import connect

from processes import TIMEOUT


def signed(keys, kind, content="", tags=(), created_at=None):
    """Returns a signed event as a dictionary."""
    builder = EventBuilder(Kind(kind), content).tags([Tag.parse(list(tag)) for tag in tags])
    if created_at is not None:
        builder = builder.custom_created_at(Timestamp.from_secs(created_at))
    return json.loads(builder.finalize(keys).as_json())


def signed_by_hand(keys, kind, content, tags, created_at):
    """Returns a signed event with any fields, including those that the library refuses to sign."""
    author = keys.public_key().to_hex()
    text = json.dumps([0, author, created_at, kind, tags, content], separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(text.encode()).digest()
    return {
        "id": digest.hex(),
        "pubkey": author,
        "created_at": created_at,
        "kind": kind,
        "tags": tags,
        "content": content,
        "sig": keys.sign_schnorr(digest),
    }


def varint(value):
    """Returns a variable-length integer (RFC 9000, section 16)."""
    for bits, prefix in ((6, 0), (14, 1), (30, 2), (62, 3)):
        if value < 1 << bits:
            return (value | prefix << bits).to_bytes((bits + 2) // 8)
    raise ValueError(value)


def parameter(identifier, value):
    return varint(identifier) + varint(len(value)) + value


def session_offer(version=1, proof=b""):
    """Returns the member `nws` of an offer that an exit without an access list accepts. The key is valid for ML-KEM, but
    nobody knows its secret."""
    body = b"".join(
        [
            parameter(0x03, varint(40_960)),
            parameter(0x04, varint(1 << 24)),
            parameter(0x05, varint(1 << 18)),
            parameter(0x20, bytes(1_184)),
        ]
    )
    offer = os.urandom(16) + varint(1) + varint(version) + varint(len(body)) + body + proof
    return base64.b64encode(offer).decode()


class RelayConnection:
    """A raw connection to a relay; it sends nothing by itself and does not reconnect."""

    def __init__(self, url):
        self.url = url
        self._stack = contextlib.ExitStack()
        manager = connect(
            url, compression=None, max_size=None, open_timeout=TIMEOUT, close_timeout=1, ping_interval=None
        )
        self.socket = self._stack.enter_context(manager)
        self._waiting = []

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        self._stack.close()

    def send(self, *message):
        self.socket.send(json.dumps(message, separators=(",", ":"), ensure_ascii=False))

    def receive(self, *heads, timeout=TIMEOUT):
        """Returns the next message that begins with one of the heads, for example `("OK", id)`.

        Other messages are kept for later calls.
        """
        deadline = time.monotonic() + timeout

        def fits(message):
            return any(tuple(message[: len(head)]) == head for head in heads)

        for index, message in enumerate(self._waiting):
            if fits(message):
                return self._waiting.pop(index)
        while True:
            message = json.loads(self.socket.recv(timeout=max(0, deadline - time.monotonic())))
            if fits(message):
                return message
            self._waiting.append(message)

    def publish(self, event):
        """Publishes an event; returns whether the relay accepted it, and the text of its OK."""
        self.send("EVENT", event)
        _, _, accepted, text = self.receive(("OK", event["id"]))
        return accepted, text

    def accepts(self, event):
        accepted, text = self.publish(event)
        assert accepted is True, text

    def refuses(self, event, prefix):
        accepted, text = self.publish(event)
        assert accepted is False
        assert text.startswith(prefix), text

    def subscribe(self, name, *filters):
        """Subscribes; returns the stored events that are sent before EOSE."""
        self.send("REQ", name, *filters)
        events = []
        while True:
            message = self.receive(("EVENT", name), ("EOSE", name), ("CLOSED", name))
            if message[0] != "EVENT":
                assert message[0] == "EOSE", message
                return events
            events.append(message[2])

    def next_event(self, name, timeout=TIMEOUT):
        return self.receive(("EVENT", name), timeout=timeout)[2]

    def authenticate(self, keys, url):
        """Authenticates (NIP-42) with the challenge that the relay sent."""
        challenge = self.receive(("AUTH",))[1]
        event = signed(keys, 22242, tags=[["relay", url], ["challenge", challenge]])
        self.send("AUTH", event)
        _, _, accepted, text = self.receive(("OK", event["id"]))
        assert accepted, text
