# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""A connection to a Nostr relay, and the events of tunnels (section A.1)."""

import contextlib
import hashlib
import itertools
import json
import queue
import threading
import time

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

KIND = 28_333


def _id(author, created_at, kind, tags, content):
    text = json.dumps([0, author, created_at, kind, tags, content], separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).digest()


def signed_event(key, receiver, content):
    """Returns an event of the author's key for the receiver's public key."""
    event = {
        "pubkey": key.public.hex(),
        "created_at": int(time.time()),
        "kind": KIND,
        "tags": [["p", receiver.hex()]],
        "content": content,
    }
    digest = event_digest(event)
    return event | {"id": digest.hex(), "sig": key.sign(digest).hex()}


def event_digest(event):
    """Returns the hash that is the id of an event, and that its author signs."""
    return _id(event["pubkey"], event["created_at"], event["kind"], event["tags"], event["content"])


def receiver(event):
    """Returns the public key in the `p` tag, in hex."""
    return next((tag[1] for tag in event["tags"] if tag[0] == "p" and len(tag) > 1), None)


def is_same_relay(url, other):
    return url.rstrip("/").lower() == other.rstrip("/").lower()


class Relay:
    """A connection that is never restored. Two threads read from it and write to it."""

    def __init__(self, url, on_close=lambda: None):
        self.url = url
        self.is_open = True
        self._stack = contextlib.ExitStack()
        self._socket = self._stack.enter_context(
            connect(url, compression=None, max_size=None, open_timeout=10, close_timeout=1)
        )
        self._on_close = on_close
        self._handlers = {}
        self._answers = {}
        self._subscribed = {}
        self._names = itertools.count()
        self._outgoing = queue.SimpleQueue()
        for work in (self._read, self._write):
            threading.Thread(target=work, daemon=True).start()

    def subscribe(self, public, handler):
        """Subscribes to events for a public key and waits for EOSE, at most 500 ms. The handler gets relay and event.

        Must not be called by a handler, which runs on the thread that reads.
        """
        name = f"s{next(self._names)}"
        self._subscribed[name] = threading.Event()
        self._handlers[public.hex()] = handler
        self._send("REQ", name, {"kinds": [KIND], "#p": [public.hex()]})
        self._subscribed[name].wait(0.5)

    def publish(self, event, on_answer=None):
        """Publishes an event, now or never. `on_answer` gets whether the relay accepted it, and the text of its OK."""
        if on_answer:
            self._answers[event["id"]] = on_answer
        self._send("EVENT", event)

    def close(self):
        """Closes the connection after what was published before."""
        self.is_open = False
        self._outgoing.put(None)

    def _send(self, *message):
        self._outgoing.put(json.dumps(message, separators=(",", ":")))

    def _write(self):
        try:
            while (message := self._outgoing.get()) is not None:
                self._socket.send(message)
            self._stack.close()
        except ConnectionClosed:
            self._ended()

    def _read(self):
        try:
            for message in self._socket:
                self._process(json.loads(message))
        except ConnectionClosed:
            pass
        self._ended()

    def _process(self, message):
        match message:
            case ["EVENT", _, {"kind": 28_333} as event]:
                if handler := self._handlers.get(receiver(event)):
                    handler(self, event)
            case ["EOSE", name] if name in self._subscribed:
                self._subscribed[name].set()
            case ["OK", identifier, accepted, text] if identifier in self._answers:
                self._answers.pop(identifier)(accepted, text)

    def _ended(self):
        if self.is_open:
            self.is_open = False
            self._on_close()
