# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""The exit of sessions. It connects all streams to one backend."""

import base64
import contextlib
import json
import os
import socket
import struct
import threading
import time

from .crypto import Key, decrypt, encapsulate, encrypt, is_signed
from .enrolment import Request, answer, token_of, verifier_of
from .handshake import (
    CLIENT_UPDATE,
    CONNECTION_RESET,
    INVITE,
    NOT_ALLOWED,
    OWN_LIMITS,
    PROTOCOL_VIOLATION,
    REFUSED,
    REPLAYED,
    REVOKED,
    TICKET,
    TOO_MANY_STREAMS,
    UNKNOWN_SESSION,
    UNREACHABLE,
    UNSUPPORTED_VERSION,
    VERSION,
    Acceptance,
    AcceptanceBody,
    Context,
    Credential,
    Generation,
    Offer,
    OfferBody,
    Refusal,
    Update,
    exit_hash,
    first_transcript,
    identity_hash,
    transcript_of,
)
from .relay import Relay, event_digest, signed_event
from .direct import DirectPath
from .session import DIRECT_PATH, OLD_KEYS, Path, Session
from .streams import Stream, StreamReset
from .wire import DuplicateKey, Identity, Malformed, NewTicket, OpenStream, ResetStream, StreamData, StreamOpened

OFFER_KEPT = 15
TICKET_LIFETIME = 3_600


def base32hex(data):
    return base64.b32hexencode(data).decode().rstrip("=").lower()


class Exit:
    """An exit. With credentials it has an access list: it answers only clients that prove that it knows them.

    `wants_identity` and `prover`, a credential that proves the exit in place of the client's, make it an exit that asks
    for an identity without being entitled to it.
    """

    def __init__(self, key, urls, backend, credentials=(), wants_identity=None, prover=None, direct=False):
        self.key = key
        self.urls = urls
        self.backend = backend
        self.credentials = list(credentials)
        self.is_private = bool(credentials)
        self.wants_identity = self.is_private if wants_identity is None else wants_identity
        self.prover = prover
        self.direct = direct
        self.invites = {}
        """What verifies the tokens of invites, by their credentials"""
        self.devices = []
        """The requests of the devices that enrolled"""
        self.offers = []
        """The offers that were answered with an acceptance"""
        self.sessions = []
        self._accepted = {}
        self._used_tickets = {}
        self._known_events = set()
        self._lock = threading.Lock()
        self.session_relays = [Relay(url, self._relay_closed) for url in urls]
        self._relays = [Relay(url) for url in urls]
        for number, relay in enumerate(self._relays):
            relay.subscribe(key.public, lambda _, event, number=number: self._receive(number, event))

    @property
    def name(self):
        """The exit's name (section A.4)."""
        labels = [base32hex(part) for part in (*(url.encode() for url in self.urls), self.key.public)]
        return ".".join([*labels, "nostr"])

    def close(self):
        for session in self.sessions:
            session.close()
        self.stop()

    def stop(self):
        """Disconnects without telling the clients, like a process that is killed."""
        for relay in self._relays + self.session_relays:
            relay.close()

    def _relay_closed(self):
        for session in list(self.sessions):
            session.relay_closed()

    # Messages to the long-term key

    def _receive(self, number, event):
        with self._lock:
            try:
                self._process(number, event)
            except (ValueError, KeyError, TypeError):
                pass  # Whatever is malformed in the format of all versions is ignored.

    def _process(self, number, event):
        if event["id"] in self._known_events or not -120 <= event["created_at"] - time.time() <= 900:
            return
        author = bytes.fromhex(event["pubkey"])
        message = json.loads(decrypt(self.key.conversation_key(author), event["content"]))
        if message["type"] not in ("CONNECT", "OFFER") or "nws" not in message:
            return
        context = Context(self.key.public, author, message["key"].lower())
        offer = Offer.decoded(base64.b64decode(message["nws"], validate=True))
        credential = next((known for known in self.credentials if known.made(offer, context)), None)
        if self.is_private and credential is None:
            return
        digest = event_digest(event)
        if digest.hex() != event["id"] or not is_signed(author, digest, bytes.fromhex(event["sig"])):
            return
        self._known_events.add(event["id"])
        self._answer(number, offer, context, credential)

    def _answer(self, number, offer, context, credential):
        digest = offer.hash(context)
        session = self._accepted.get(digest)
        if session is None:
            if VERSION not in offer.bodies:
                return self._refuse(number, context, digest, UNSUPPORTED_VERSION)
            try:
                body = OfferBody.decoded(offer.bodies[VERSION])
                if body.session:
                    if not any(known.has_keys(context.client, body.session) for known in self.sessions):
                        self._refuse(number, context, digest, UNKNOWN_SESSION)
                    return
                if not self._may_use(credential, digest):
                    return self._refuse(number, context, digest, REPLAYED)
                session = self._accept(digest, context, body, credential)
            except ValueError:
                return self._refuse(number, context, digest, PROTOCOL_VIOLATION)
            self.offers.append(offer)
        session.publish_acceptance(number)

    def _may_use(self, credential, offer_hash):
        """Returns whether the credential is good for this offer: a ticket is so for one."""
        if credential is None or credential.kind != TICKET:
            return True
        return self._used_tickets.setdefault(credential, offer_hash) == offer_hash

    def _refuse(self, number, context, offer_hash, code):
        key = Key()
        refusal = Refusal(code).signed(self.key, offer_hash, key.public)
        content = encrypt(key.conversation_key(context.client), refusal.encoded())
        self.session_relays[number].publish(signed_event(key, context.client, content))

    def _accept(self, digest, context, offer, credential):
        secret, ciphertext = encapsulate(offer.encapsulation_key)
        own = Key()
        is_direct = self.direct and offer.direct
        body = AcceptanceBody(OWN_LIMITS, ciphertext, self.wants_identity, self.urls, direct=is_direct).encoded()
        transcript = first_transcript(digest, own.public, body)
        generation = Generation.derived(0, transcript, own, context.client, secret)
        prover = self.prover or credential
        proof = prover.exit_proof(transcript) if prover else b""
        acceptance = Acceptance(0, body, self.key.sign(exit_hash(transcript)), proof)
        session = ExitSession(self, digest, generation, offer.limits, acceptance, credential, is_direct)
        for relay in self.session_relays:
            if relay.is_open:
                relay.subscribe(own.public, session.receive)
        self._accepted[digest] = session
        self.sessions.append(session)
        threading.Timer(OFFER_KEPT, self._forget, (digest, session)).start()
        return session

    def enrol(self, invite, request, transcript):
        """Exchanges the credential of an invite for an identity; returns the answer."""
        with self._lock:
            if invite not in self.credentials:
                return bytes([REVOKED])
            verifier = self.invites.get(invite)
            if request is None or verifier_of(request.token) != verifier or not request.is_proven(transcript):
                return bytes([NOT_ALLOWED])
            self.credentials.remove(invite)
            self.credentials.append(Credential.of_client(self.key, request.identity))
            self.devices.append(request)
            return answer([80])

    def invite(self, secret):
        """Accepts a device with the invite of this secret."""
        credential = Credential.of_invite(secret, self.key.public)
        self.invites[credential] = verifier_of(token_of(secret, self.key.public))
        self.credentials.append(credential)
        self.is_private = self.wants_identity = True

    def _forget(self, digest, session):
        """Forgets an offer from which no session came."""
        with self._lock:
            if not session.has_begun:
                self._accepted.pop(digest, None)
                self.sessions.remove(session)


class ExitSession(Session):
    is_client = False

    def __init__(self, node, offer_hash, generation, peer_limits, acceptance, credential, is_direct):
        super().__init__(generation, peer_limits)
        self.offer_hash = offer_hash
        self.first_key = generation.own.public
        self.duplicate_key = None
        """The DUPLICATE_KEY that arrived"""
        self.has_twin = False
        """Whether it proves another exit with the same key"""
        self.has_begun = False
        self.identities = []
        """Every IDENTITY that arrived, valid or not"""
        self.identity = None
        """The newest valid one"""
        self.credential = credential
        self.is_direct = is_direct
        self.enrolment = False
        """Whether the client has opened the stream in which it enrols"""
        self.first_transcript = generation.transcript
        self._exit = node
        self._acceptance = acceptance
        self._answers = 0
        self._identity_deadline = None
        self._is_updating = False
        for number, relay in enumerate(node.session_relays):
            self.paths[number] = Path(number, relay)

    def has_keys(self, client, own):
        keys = self.sending
        return not self.is_closed and self.has_begun and (keys.peer, keys.own.public) == (client, own)

    def publish_acceptance(self, number):
        """Publishes the acceptance on the relay by which the offer arrived, and its repetitions on one more."""
        others = [other for other in range(len(self._exit.urls)) if other != number]
        further = [others[self._answers % len(others)]] if others and self._answers else []
        self._answers += 1
        keys = self.sending
        for path in [number, *further]:
            acceptance = Acceptance(path, self._acceptance.body, self._acceptance.signature, self._acceptance.proof)
            content = encrypt(keys.own.conversation_key(keys.peer), acceptance.encoded())
            self.paths[path].relay.publish(signed_event(keys.own, keys.peer, content))

    # Direct path

    def _offer_direct_path(self):
        self.paths[DIRECT_PATH] = DirectPath(self)
        self.paths[DIRECT_PATH].offer()

    def handle_direct(self, frame):
        if not self.is_direct:
            raise Malformed("a frame that needs the parameter direct")
        self.paths[DIRECT_PATH].handle(frame)

    # Packets

    def may_process(self, frames):
        opened = {0}
        for frame in frames:
            if isinstance(frame, OpenStream):
                opened.add(frame.stream)
            if isinstance(frame, StreamData) and frame.stream not in opened and frame.stream not in self.streams:
                if frame.stream not in self.ended_streams:
                    return False
        return True

    def received_on(self, path):
        if not self.has_begun:
            self.has_begun = path.is_usable = True
            self.start()
            if self.is_direct:
                self._offer_direct_path()
        elif path.probe_at is None:
            path.probe_at = time.monotonic()

    def handle(self, frame, now):
        match frame:
            case OpenStream():
                self._open(frame)
            case Identity():
                self._identify(frame)
            case DuplicateKey():
                self._warn(frame)
            case _:
                super().handle(frame, now)

    def _warn(self, frame):
        if self.duplicate_key not in (None, frame):
            raise Malformed("a second, different DUPLICATE_KEY")
        self.duplicate_key = frame
        transcript = transcript_of(self.offer_hash, frame.exit_session_key, frame.body_hash)
        is_other = frame.exit_session_key != self.first_key
        self.has_twin = is_other and is_signed(self._exit.key.public, exit_hash(transcript), frame.signature)

    def handle_unknown_stream(self, frame):
        if isinstance(frame, ResetStream):
            self.ended_streams.add(frame.stream, frame.stream + 1)
            self.send(ResetStream(frame.stream, frame.code, 0))

    def lost(self, frame):
        super().lost(frame)
        if isinstance(frame, NewTicket):
            self.send(frame)
        elif isinstance(frame, StreamOpened):
            stream = self.streams.get(frame.stream)
            if stream and stream.error is None:
                self.send(frame)

    # Identity

    def _identify(self, frame):
        self.identities.append(frame)
        if any(other.generation == frame.generation and other.key != frame.key for other in self.identities):
            raise Malformed("a second key in IDENTITY")
        keys = next((keys for keys in self.generations.values() if keys.number == frame.generation), None)
        if keys is None or self.identity and frame.generation <= self.identity.generation:
            return
        expected = self.credential.identity if self.credential else None
        if frame.key == expected and is_signed(frame.key, identity_hash(keys.transcript), frame.signature):
            self.identity = frame
            if frame.generation == 0:
                self._send_ticket()

    def _send_ticket(self):
        secret = os.urandom(32)
        ticket = Credential.derived(TICKET, secret, self._exit.key.public, self.identity.key, self.identity.key)
        self._exit.credentials.append(ticket)
        self.send(NewTicket(TICKET_LIFETIME, secret))

    # Streams

    def _open(self, frame):
        if frame.stream == 0 or frame.stream in self.streams or frame.stream in self.ended_streams:
            return
        too_many = len(self.streams) >= OWN_LIMITS.max_streams
        enrols = self.credential is not None and self.credential.kind == INVITE and frame.port == 0
        stream = self.streams[frame.stream] = Stream(self, frame.stream)
        if enrols and not self.enrolment:
            self.enrolment = True
            threading.Thread(target=self._enrol, args=(stream,), daemon=True).start()
        elif self._exit.is_private and not self.identity:
            stream.reset(NOT_ALLOWED)
        elif too_many:
            stream.reset(TOO_MANY_STREAMS)
        else:
            threading.Thread(target=self._serve, args=(stream,), daemon=True).start()

    def _serve(self, stream):
        try:
            target = socket.create_connection(self._exit.backend, 10)
        except ConnectionRefusedError:
            return stream.reset(REFUSED)
        except OSError:
            return stream.reset(UNREACHABLE)
        target.settimeout(None)
        with self.changed:
            if stream.error is None:
                stream.is_open = True
                self.send(StreamOpened(stream.number))
        writer = threading.Thread(target=_copy_to_target, args=(stream, target), daemon=True)
        writer.start()
        _copy_from_target(target, stream)
        writer.join()
        target.close()

    def _enrol(self, stream):
        """Adds the device to the exit's list, if its request is good, and answers."""
        with self.changed:
            stream.is_open = True
            self.send(StreamOpened(stream.number))
        try:
            request = Request.decoded(stream.read_to_end())
        except ValueError:
            request = None
        stream.write(self._exit.enrol(self.credential, request, self.first_transcript))
        stream.finish()

    # Updates

    def handle_update(self, kind, fields):
        if kind != CLIENT_UPDATE or self._is_updating:
            raise Malformed("an unexpected message of a key update")
        update = Update.decoded(kind, fields)
        if update.generation != self.sending.number + 1:
            raise Malformed("the generation of a key update is wrong")
        self._is_updating = True
        secret, ciphertext = encapsulate(update.kem)
        threading.Thread(target=self._answer_update, args=(update, secret, ciphertext), daemon=True).start()

    def _answer_update(self, update, secret, ciphertext):
        own, old = Key(), self.sending
        answer = Update(update.generation, own.public, ciphertext)
        transcript = answer.transcript(old.transcript, update)
        generation = Generation.derived(update.generation, transcript, own, update.key, secret, old.root)
        for relay in self._exit.session_relays:
            if relay.is_open:
                relay.subscribe(own.public, self.receive)
        with self.changed:
            self.generations[own.public.hex()] = generation
            signature = self._exit.key.sign(exit_hash(transcript))
            self.send_crypto(Update(update.generation, own.public, ciphertext, signature).encoded())

    def _note_generation(self, generation, now):
        if generation.number > self.newest_received:
            self._is_updating = False
            self._identity_deadline = now + OLD_KEYS if self.identity else None
        super()._note_generation(generation, now)

    def timers(self, now):
        super().timers(now)
        if self._identity_deadline is not None and now >= self._identity_deadline:
            self._identity_deadline = None
            if self.identity.generation != self.sending.number:
                self.close(NOT_ALLOWED)


def _copy_from_target(target, stream):
    try:
        while data := target.recv(1 << 16):
            stream.write(data)
        stream.finish()
    except StreamReset:
        pass
    except OSError:
        stream.reset(CONNECTION_RESET)


def _copy_to_target(stream, target):
    try:
        while data := stream.read():
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except StreamReset:
        target.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RD)  # Wakes the other thread; close alone does not.
        target.close()
    except OSError:
        stream.reset(CONNECTION_RESET)
