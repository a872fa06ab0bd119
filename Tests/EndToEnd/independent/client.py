# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""The client of sessions."""

import base64
import json
import queue
import threading
import time
import uuid

from .crypto import KEMKey, Key, decrypt, encrypt, is_signed
from .enrolment import Request, read_answer
from .handshake import (
    ACCEPTANCE,
    EXIT_UPDATE,
    IDENTITY,
    NO_ERROR,
    OWN_LIMITS,
    REFUSAL,
    SESSION,
    TICKET,
    VERSION,
    Acceptance,
    AcceptanceBody,
    Context,
    Generation,
    Offer,
    OfferBody,
    Refusal,
    Update,
    exit_hash,
    first_transcript,
    identity_hash,
)
from .relay import Relay, is_same_relay, receiver, signed_event
from .direct import DirectPath
from .session import DIRECT_PATH, Path, Session
from .streams import Stream
from .wire import (
    Identity,
    Malformed,
    NewPath,
    NewTicket,
    OpenStream,
    Ping,
    StreamData,
    StreamOpened,
    encode_parameters,
)

REPEAT_OFFER = 0.3
IDLE = 60


class Refused(Exception):
    def __init__(self, refusal):
        super().__init__(f"the exit refused with code {refusal.code}")
        self.code = refusal.code
        self.versions = refusal.versions


class NoAnswer(Exception):
    pass


class Handshake:
    """An offer that is repeated until the exit answers."""

    def __init__(self, exit_public, urls, credential=None, opening=None, bodies=None, direct=False):
        self.session = None
        self.key, self.kem_key = Key(), KEMKey()
        self.credential = credential
        self.context = Context(exit_public, self.key.public, str(uuid.uuid4()))
        self.opening = opening
        body = OfferBody(OWN_LIMITS, self.kem_key.public, session=None, opening=opening, direct=direct)
        self.wants_direct = direct
        self.offer = Offer.new(bodies or {VERSION: body.encoded()}).proven(credential, self.context)
        self.relays = [self.connect_relay(url) for url in urls]
        self._answers = queue.SimpleQueue()
        self._next_type = "CONNECT"
        for relay in self.relays:
            relay.subscribe(self.key.public, self.on_event)

    def connect_relay(self, url):
        return Relay(url, self._relay_closed)

    def _relay_closed(self):
        if self.session:
            self.session.relay_closed()

    def close(self):
        for relay in self.relays:
            relay.close()

    # The offer

    def publish_offer(self, kind):
        for relay in self.relays:
            relay.publish(message_event(self.key, self.context, kind, self.offer.encoded()), self._on_answer)

    def _on_answer(self, accepted, text):
        if text.startswith(("mute:", "rate-limited:")):
            self._next_type = "CONNECT"

    def on_event(self, relay, event):
        """Handles an event for one of the client's session keys."""
        author = bytes.fromhex(event["pubkey"])
        if self.session and any(author == keys.peer for keys in self.session.generations.values()):
            self.session.receive(relay, event)
        elif self.session:
            self.session.receive_refusal(event)
        else:
            try:
                plaintext = decrypt(self.key.conversation_key(author), event["content"])
            except ValueError:
                return
            self._answers.put((relay, author, plaintext))

    # The answer

    def is_unanswered(self):
        return self._answers.empty()

    def session_or_refusal(self, timeout=10):
        """Returns the session. Raises Refused or NoAnswer."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            self.publish_offer(self._next_type)
            self._next_type = "OFFER"
            repeat_at = time.monotonic() + REPEAT_OFFER
            while (left := repeat_at - time.monotonic()) > 0:
                try:
                    relay, author, plaintext = self._answers.get(timeout=left)
                    if session := self._answered(relay, author, plaintext):
                        return session
                except (queue.Empty, Malformed):
                    pass
        self.close()
        raise NoAnswer

    def _answered(self, relay, author, plaintext):
        offer_hash = self.offer.hash(self.context)
        if plaintext[0] == REFUSAL:
            refusal = Refusal.decoded(plaintext)
            if is_signed(self.context.exit, refusal.signed_hash(offer_hash, author), refusal.signature):
                self.close()
                raise Refused(refusal)
        if plaintext[0] != ACCEPTANCE:
            return None
        acceptance = Acceptance.decoded(plaintext)
        body = AcceptanceBody.decoded(acceptance.body)
        transcript = first_transcript(offer_hash, author, acceptance.body)
        if not is_signed(self.context.exit, exit_hash(transcript), acceptance.signature):
            return None
        secret = self.kem_key.decapsulate(body.ciphertext)
        generation = Generation.derived(0, transcript, self.key, author, secret)
        self.session = ClientSession(self, generation, body)
        if self.credential and acceptance.proof == self.credential.exit_proof(transcript):
            self.session.exit_has_proven(body.wants_identity)
        if self.opening:
            self.session.open_first(self.opening, body.opened)
        self.session.begin(relay, acceptance.path, body.relays)
        return self.session


def message_event(key, context, kind, offer):
    """Returns a CONNECT or OFFER (section A.1)."""
    message = {"key": context.uuid, "type": kind, "nws": base64.b64encode(offer).decode()}
    content = encrypt(key.conversation_key(context.exit), json.dumps(message).encode())
    return signed_event(key, context.exit, content)


def connect(exit_public, urls, credential=None, opening=None, direct=False):
    """Begins a session with an exit over its relays. Raises Refused or NoAnswer."""
    return Handshake(exit_public, urls, credential, opening, direct=direct).session_or_refusal()


class ClientSession(Session):
    is_client = True

    def __init__(self, handshake, generation, body):
        super().__init__(generation, body.limits)
        self.handshake = handshake
        self.exit_is_proven = False
        self.first_stream = None
        """The stream of the opening, if there was one"""
        self.tickets = []
        self._identity = None
        self._identity_acknowledged = False
        self._next_stream = 1
        self._update = None
        self._query_at = self._query_hash = None
        self._query_interval = 4
        self._busy_at = time.monotonic()

    def exit_has_proven(self, wants_identity):
        self.exit_is_proven = True
        if wants_identity and self.handshake.credential.kind in (IDENTITY, TICKET):
            self._identity = self._signed_identity(self.sending)

    def _signed_identity(self, generation):
        key = self.handshake.credential.identity
        return Identity(generation.number, key.public, key.sign(identity_hash(generation.transcript)))

    # Paths

    def begin(self, relay, path, urls):
        """Begins the session on the relay that delivered the acceptance, and connects to the others."""
        own = [number for number, url in enumerate(urls) if is_same_relay(url, relay.url)]
        path = own[0] if own and path not in own else path
        with self.changed:
            self.paths[path] = Path(path, relay, is_first=True)
            self.send_packet(self.paths[path], [Ping()])
        for number, url in enumerate(urls):
            if url and number != path:
                threading.Thread(target=self._add_path, args=(number, url), daemon=True).start()
        self.start()

    def _add_path(self, number, url):
        relay = next((relay for relay in self.handshake.relays if is_same_relay(url, relay.url)), None)
        if relay is None:
            try:
                relay = self.handshake.connect_relay(url)
            except OSError:
                return
            self.handshake.relays.append(relay)
            relay.subscribe(self.sending.own.public, self.handshake.on_event)
        with self.changed:
            self.paths[number] = Path(number, relay)
            self.paths[number].probe_at = time.monotonic()
            self.changed.notify_all()

    def handle_direct(self, frame):
        if not self.handshake.wants_direct:
            raise Malformed("a frame that needs the parameter direct")
        if DIRECT_PATH not in self.paths:
            # The exit offers first, and this client answers.
            self.paths[DIRECT_PATH] = DirectPath(self)
            self.paths[DIRECT_PATH].offer()
        self.paths[DIRECT_PATH].handle(frame)

    # Streams

    def open(self, port, destination="", wait=True):
        """Opens a stream. Raises StreamReset if the exit does not connect it."""
        with self.changed:
            self.wait_for(lambda: self.is_closed or len(self.streams) < self.peer_limits.max_streams)
            stream = self.streams[self._next_stream] = Stream(self, self._next_stream)
            self._next_stream += 1
            if self.is_closed:
                stream.session_ended(self.close_code)
            self.send(OpenStream(stream.number, port, destination))
        if wait:
            stream.wait_until_open()
        return stream

    def enrol(self, token, identity, name=b""):
        """Enrols an identity in a session with an invite; returns the exit's answer."""
        stream = self.open(0)
        stream.write(Request.signed(identity, token, name, self.sending.transcript).encoded())
        stream.finish()
        return read_answer(stream.read_to_end())

    def open_first(self, opening, opened):
        """Opens the stream of the opening. The exit has its first bytes already, or gets them again."""
        with self.changed:
            self.first_stream = self.open(opening.port, opening.destination, wait=False)
            if opened == len(opening.data):
                self.first_stream.skip(opened)
            else:
                self.first_stream.write(opening.data)

    def before_frame(self, frame):
        needed = isinstance(frame, OpenStream) and self._identity and not self._identity_acknowledged
        return [self._identity] if needed else []

    def delivered(self, frame):
        super().delivered(frame)
        self._identity_acknowledged |= isinstance(frame, OpenStream)

    def lost(self, frame):
        super().lost(frame)
        if isinstance(frame, OpenStream):
            stream = self.streams.get(frame.stream)
            if stream and not stream.is_open and stream.error is None:
                self.send(frame)
        elif isinstance(frame, Identity) and frame.generation > 0:
            self.send(frame)

    # Frames

    def handle(self, frame, now):
        match frame:
            case StreamOpened():
                if stream := self.streams.get(frame.stream):
                    stream.is_open = True
            case NewPath():
                if frame.path not in self.paths:
                    threading.Thread(target=self._add_path, args=(frame.path, frame.url), daemon=True).start()
            case NewTicket():
                self.tickets.append(frame.secret)
            case _:
                super().handle(frame, now)

    def handle_unknown_stream(self, frame):
        if isinstance(frame, StreamData):
            raise Malformed("STREAM for a stream that was not opened")

    # Updates

    def update_keys(self, repeats_identity=True):
        """Starts a key update, which the exit cuts short if the identity is not repeated."""
        if not repeats_identity:
            self._identity = None
        key, kem_key = Key(), KEMKey()
        for relay in self.handshake.relays:
            if relay.is_open:
                relay.subscribe(key.public, self.handshake.on_event)
        with self.changed:
            update = Update(self.sending.number + 1, key.public, kem_key.public)
            self._update = update, key, kem_key
            self.send_crypto(update.encoded())

    def handle_update(self, kind, fields):
        if kind != EXIT_UPDATE or self._update is None:
            raise Malformed("an unexpected message of a key update")
        (sent, key, kem_key), self._update = self._update, None
        update, old = Update.decoded(kind, fields), self.sending
        transcript = update.transcript(old.transcript, sent)
        is_valid = is_signed(self.handshake.context.exit, exit_hash(transcript), update.signature)
        if update.generation != sent.generation or not is_valid:
            raise Malformed("the generation or the signature of a key update is wrong")
        secret = kem_key.decapsulate(update.kem)
        self.sending = Generation.derived(update.generation, transcript, key, update.key, secret, old.root)
        self.generations[key.public.hex()] = self.sending
        self.send(Ping())  # So that the exit begins to use the new keys, and shows it.
        if self._identity:
            self.send(self._signed_identity(self.sending))

    # Life

    def timers(self, now):
        super().timers(now)
        if self.streams:
            self._busy_at = now
        elif now - self._busy_at > IDLE:
            self.close(NO_ERROR)
        if self.waiting_since is None:
            self._query_at, self._query_interval = None, 4
        elif now >= (self._query_at or self.waiting_since + 2):
            self._query_at, self._query_interval = now + self._query_interval, min(16, 2 * self._query_interval)
            self._query()

    def _query(self):
        """Asks the exit whether it still has the session."""
        handshake, keys = self.handshake, self.sending
        context = Context(handshake.context.exit, keys.own.public, str(uuid.uuid4()))
        offer = Offer.new({VERSION: encode_parameters({SESSION: keys.peer})}).proven(handshake.credential, context)
        self._query_hash = offer.hash(context)
        for relay in handshake.relays:
            if relay.is_open:
                relay.publish(message_event(keys.own, context, "OFFER", offer.encoded()))

    def receive_refusal(self, event):
        """The answer to a session query, if the exit does not have the session."""
        author = bytes.fromhex(event["pubkey"])
        with self.changed:
            keys = self.generations.get(receiver(event))
            if keys is None or self._query_hash is None:
                return
            try:
                refusal = Refusal.decoded(decrypt(keys.own.conversation_key(author), event["content"]))
            except ValueError:
                return
            digest = refusal.signed_hash(self._query_hash, author)
            if not self.is_closed and is_signed(self.handshake.context.exit, digest, refusal.signature):
                self._end(refusal.code)

    def _end(self, code):
        super()._end(code)
        self.handshake.close()
