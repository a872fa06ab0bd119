# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""A client and an exit that speak plain NIP-74, as the reference implementation does, without sessions."""

import base64
import json
import socket
import threading
import time
import uuid

from nostr_sdk import Keys, Nip19Profile, Nip44Version, PublicKey, RelayUrl, nip44_decrypt, nip44_encrypt
from websockets.exceptions import ConnectionClosed

from nostr_wire import RelayConnection, signed
from processes import TIMEOUT

KIND = 28333
MEMBERS = {"key", "type", "data", "destination", "entryPublicAddress"}


class Peer:
    """A key pair and a connection to a relay."""

    def __init__(self, relay_url, keys=None):
        self.keys = keys or Keys.generate()
        self.pubkey = self.keys.public_key().to_hex()
        self.relay_url = relay_url
        self.relay = RelayConnection(relay_url)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        self.relay.close()

    def seal(self, receiver, plaintext):
        secret, public = self.keys.secret_key(), PublicKey.parse(receiver)
        content = nip44_encrypt(secret, public, plaintext, Nip44Version.V2)
        return signed(self.keys, KIND, content, [["p", receiver]])

    def open(self, event):
        return nip44_decrypt(self.keys.secret_key(), PublicKey.parse(event["pubkey"]), event["content"])

    @staticmethod
    def message(key, kind, data, destination):
        """Returns a message with its members in the reference's order; empty members are omitted."""
        encoded = base64.b64encode(data).decode() if isinstance(data, bytes) else data
        members = {"key": key, "type": kind, "data": encoded, "destination": destination}
        return json.dumps({name: value for name, value in members.items() if value}, separators=(",", ":"))


class PlainClient(Peer):
    """A client with one stream to an exit. It subscribes at once, or with :meth:`subscribe`."""

    def __init__(self, relay_url, exit_pubkey, destination, subscribes=True):
        super().__init__(relay_url)
        self.exit = exit_pubkey
        self.destination = destination
        self.key = str(uuid.uuid4())
        self.events = []
        self.messages = []
        self.data = b""
        if subscribes:
            self.subscribe()

    def subscribe(self):
        self.relay.subscribe(
            "answers", {"kinds": [KIND], "authors": [self.exit], "since": int(time.time()), "#p": [self.pubkey]}
        )

    def connect(self, data=None):
        self.send(data, "CONNECT")

    def send(self, data, kind="SOCKS5RESPONSE"):
        self.relay.accepts(self.seal(self.exit, self.message(self.key, kind, data, self.destination)))

    def send_at_once(self, data, kind="SOCKS5RESPONSE"):
        """Sends a message, and does not wait until the relay has accepted the one before."""
        self.relay.send("EVENT", self.seal(self.exit, self.message(self.key, kind, data, self.destination)))

    def receive(self, timeout=TIMEOUT):
        """Returns the next answer: a message, or its text if that is not JSON."""
        event = self.relay.next_event("answers", timeout)
        self.events.append(event)
        plaintext = self.open(event)
        try:
            message = json.loads(plaintext)
        except ValueError:
            return plaintext
        self.messages.append(message)
        self.data += base64.b64decode(message.get("data", ""), validate=True)
        return message

    def receive_data(self, count):
        """Waits for at least `count` bytes; returns all data received so far."""
        while len(self.data) < count:
            message = self.receive()
            assert isinstance(message, dict), f"the stream ended after {len(self.data)} bytes: {message!r}"
        return self.data

    def receive_to_close(self):
        """Returns all data up to the close message, which is not JSON, and the text of that message."""
        while isinstance(message := self.receive(), dict):
            pass
        return self.data, message


class PlainExit(Peer):
    """An exit that connects streams to a backend. `received` lists (time, message) in order."""

    def __init__(self, relay_url, backend=None, answer_type="SOCKS5RESPONSE"):
        super().__init__(relay_url)
        self.backend = backend
        self.answer_type = answer_type
        self.received = []
        self.streams = {}
        self.relay.subscribe("exit", {"kinds": [KIND], "since": int(time.time()), "#p": [self.pubkey]})
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            while True:
                event = self.relay.next_event("exit", timeout=TIMEOUT * 4)
                message = json.loads(self.open(event))
                self.received.append((time.monotonic(), message))
                self.handle(event["pubkey"], message)
        except (ConnectionClosed, OSError):
            pass

    def handle(self, client, message):
        key = message["key"]
        if message["type"] == "CONNECT":
            self.connected(client, key)
        elif message["type"] in ("SOCKS5RESPONSE", "DATA") and key in self.streams:
            self.data_came(client, key, base64.b64decode(message.get("data", ""), validate=True))

    def connected(self, client, key):
        host, port = self.backend.rsplit(":", 1)
        self.streams[key] = socket.create_connection((host, int(port)), TIMEOUT)
        threading.Thread(target=self._forward, args=(client, key), daemon=True).start()

    def data_came(self, client, key, data):
        self.streams[key].sendall(data)

    def _forward(self, client, key):
        try:
            while data := self.streams[key].recv(30_555):
                self.answer(client, key, data)
        except (ConnectionClosed, OSError):
            pass

    def close(self):
        super().close()
        self._thread.join(TIMEOUT)
        for stream in self.streams.values():
            if isinstance(stream, socket.socket):
                stream.close()

    def answer(self, client, key, data):
        profile = Nip19Profile(PublicKey.parse(client), [RelayUrl.parse(self.relay_url)]).to_bech32()
        self.relay.send("EVENT", self.seal(client, self.message(key, self.answer_type, data, profile)))


class ScriptedExit(PlainExit):
    """An exit that plays a script of `("expect", data)` and `("send", message)` on its only stream."""

    def __init__(self, relay_url, script):
        self.script = list(script)
        self.unread = b""
        super().__init__(relay_url)

    def connected(self, client, key):
        self.streams[key] = True
        self.advance(client, key)

    def data_came(self, client, key, data):
        self.unread += data
        self.advance(client, key)

    def advance(self, client, key):
        while self.script:
            step, value = self.script[0]
            if step == "send":
                self.relay.send("EVENT", self.seal(client, json.dumps({**value, "key": key}, separators=(",", ":"))))
            elif self.unread.startswith(value):
                self.unread = self.unread[len(value) :]
            else:
                return
            self.script.pop(0)
