# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Offers (section B.3), proofs (B.4), acceptances and refusals (B.5), and the keys that result from them (B.6)."""

import hashlib
import hmac
import os
import time
from dataclasses import dataclass, replace

from .crypto import hkdf, hmac_sha256, length_prefixed, tagged_hash
from .wire import MAX_PATHS, Malformed, Reader, decode_parameters, encode_parameters, text, varint

VERSION = 1
MAX_PACKET, MAX_DATA, MAX_STREAM_DATA, MAX_STREAMS = 0x03, 0x04, 0x05, 0x08
ENCAPSULATION_KEY, CIPHERTEXT, SESSION, OPENING = 0x20, 0x21, 0x22, 0x23
OPENED, WANTS_IDENTITY, RELAYS, DIRECT = 0x24, 0x25, 0x26, 0x27

IDENTITY, TICKET, INVITE = 1, 2, 3
REFUSAL, ACCEPTANCE = 0x01, 0x12

NO_ERROR, REFUSED, UNREACHABLE, NOT_ALLOWED, CONNECTION_RESET, PROTOCOL_VIOLATION = 0, 1, 2, 3, 7, 8
TOO_MANY_STREAMS, PEER_LOST, UNKNOWN_SESSION, REPLAYED, CANCELLED, UNSUPPORTED_VERSION = 9, 16, 17, 20, 21, 22
REVOKED = 23


@dataclass(frozen=True)
class Limits:
    """The parameters that both sides declare."""

    max_packet: int = 40_960
    max_data: int = 0
    max_stream_data: int = 0
    max_streams: int = 0

    def parameters(self):
        values = {MAX_PACKET: self.max_packet, MAX_DATA: self.max_data}
        values |= {MAX_STREAM_DATA: self.max_stream_data, MAX_STREAMS: self.max_streams}
        return {identifier: varint(value) for identifier, value in values.items()}


OWN_LIMITS = Limits(max_packet=65_535, max_data=1 << 20, max_stream_data=1 << 18, max_streams=100)


def _integer(values, identifier, default):
    if identifier not in values:
        return default
    reader = Reader(values[identifier])
    value = reader.varint()
    reader.end()
    return value


def _sized(values, identifier, size, required=True):
    value = values.get(identifier)
    if len(value or b"") != size and (required or value is not None):
        raise Malformed(f"parameter {identifier:#x}")
    return value


def _limits(values):
    limits = Limits(
        max_packet=_integer(values, MAX_PACKET, 40_960),
        max_data=_integer(values, MAX_DATA, 0),
        max_stream_data=_integer(values, MAX_STREAM_DATA, 0),
        max_streams=_integer(values, MAX_STREAMS, 0),
    )
    if limits.max_packet < 1_024:
        raise Malformed("max_packet is too small")
    return limits


# Credentials and proofs


@dataclass(frozen=True)
class Credential:
    kind: int
    hint_key: bytes
    proof_key: bytes
    identity: object = None
    """The client's identity: its Key at the client, its public key at the exit."""

    @classmethod
    def derived(cls, kind, secret, exit_public, identity_public=b"", identity=None):
        derived = hkdf(secret, b"nws/credential", bytes([kind]) + exit_public + identity_public, 64)
        return cls(kind, derived[:32], derived[32:], identity)

    @classmethod
    def of_identity(cls, identity, exit_public):
        """The client's credential of kind 1."""
        secret = identity.shared_x(exit_public)
        return cls.derived(IDENTITY, secret, exit_public, identity.public, identity)

    @classmethod
    def of_client(cls, exit_key, identity_public):
        """The same credential at the exit."""
        secret = exit_key.shared_x(identity_public)
        return cls.derived(IDENTITY, secret, exit_key.public, identity_public, identity_public)

    @classmethod
    def of_ticket(cls, ticket, exit_public, identity):
        return cls.derived(TICKET, ticket, exit_public, identity.public, identity)

    @classmethod
    def of_invite(cls, invite, exit_public):
        return cls.derived(INVITE, invite, exit_public)

    def hint(self, date):
        period = 0 if self.kind == TICKET else date // 3_600
        return hmac_sha256(self.hint_key, period.to_bytes(8, "big", signed=True))[:8]

    def _code(self, head, offer, context):
        data = length_prefixed("nws/offer-proof", head, context.exit, context.client, context.uuid, offer.unproven)
        return hmac_sha256(self.proof_key, data)

    def proof(self, offer, context, date=None):
        date = int(time.time()) if date is None else date
        head = bytes([self.kind]) + date.to_bytes(8, "big", signed=True) + self.hint(date)
        return head + self._code(head, offer, context)

    def made(self, offer, context):
        """Returns whether the proof of the offer was made with this credential and has an acceptable date."""
        if len(offer.proof) != 49 or offer.proof[0] != self.kind:
            return False
        head, code = offer.proof[:17], offer.proof[17:]
        date = int.from_bytes(head[1:9], "big", signed=True)
        if not -120 <= date - time.time() <= 900 or head[9:] != self.hint(date):
            return False
        return hmac.compare_digest(code, self._code(head, offer, context))

    def exit_proof(self, transcript):
        return hmac_sha256(self.proof_key, length_prefixed("nws/session/1/exit-proof", transcript))


# Offers


@dataclass(frozen=True)
class Context:
    """What identifies an offer besides its bytes: the keys of exit and client, and the UUID."""

    exit: bytes
    client: bytes
    uuid: str


@dataclass(frozen=True)
class Offer:
    bodies: dict
    """The body of each version"""
    unproven: bytes
    """The encoded offer up to the proof"""
    proof: bytes = b""

    @classmethod
    def new(cls, bodies, nonce=None):
        encoded = (varint(version) + varint(len(body)) + body for version, body in sorted(bodies.items()))
        return cls(bodies, (nonce or os.urandom(16)) + varint(len(bodies)) + b"".join(encoded))

    def proven(self, credential, context):
        return replace(self, proof=credential.proof(self, context)) if credential else self

    def encoded(self):
        return self.unproven + self.proof

    @classmethod
    def decoded(cls, data):
        if len(data) > 16_384:
            raise Malformed("the offer is too long")
        reader, bodies = Reader(data), {}
        reader.bytes(16)
        count = reader.varint(8)
        for _ in range(count):
            version = reader.varint()
            if bodies and version <= max(bodies):
                raise Malformed("the versions are not in ascending order")
            bodies[version] = reader.block()
        if count == 0:
            raise Malformed("no versions")
        return cls(bodies, data[: reader.position], reader.rest())

    def hash(self, context):
        return tagged_hash("nws/offer", context.exit, context.client, context.uuid, self.encoded())


@dataclass(frozen=True)
class Opening:
    """The first stream, sent with the offer."""

    port: int
    destination: str
    data: bytes

    def encoded(self):
        return varint(self.port) + text(self.destination) + self.data

    @classmethod
    def decoded(cls, data):
        reader = Reader(data)
        opening = cls(reader.varint(65_535), reader.text(), reader.rest())
        if len(opening.data) > 4_096:
            raise Malformed("too much data in an opening")
        return opening


@dataclass(frozen=True)
class OfferBody:
    limits: Limits
    encapsulation_key: bytes
    session: bytes
    opening: Opening
    direct: bool = False
    """Whether the client understands direct paths"""

    @classmethod
    def decoded(cls, data):
        values = decode_parameters(data)
        session = _sized(values, SESSION, 32, required=False)
        key = _sized(values, ENCAPSULATION_KEY, 1_184, required=session is None)
        opening = Opening.decoded(values[OPENING]) if OPENING in values else None
        return cls(_limits(values), key, session, opening, DIRECT in values)

    def encoded(self):
        values = self.limits.parameters() | {ENCAPSULATION_KEY: self.encapsulation_key}
        if self.opening:
            values[OPENING] = self.opening.encoded()
        if self.direct:
            values[DIRECT] = b""
        return encode_parameters(values)


# Answers


@dataclass(frozen=True)
class Acceptance:
    path: int
    body: bytes
    signature: bytes
    proof: bytes = b""

    def encoded(self):
        head = bytes([ACCEPTANCE]) + varint(self.path) + varint(len(self.body))
        return head + self.body + self.signature + self.proof

    @classmethod
    def decoded(cls, data):
        reader = Reader(data)
        if reader.u8() != ACCEPTANCE:
            raise Malformed("not an acceptance")
        path, body, signature, proof = reader.varint(MAX_PATHS - 1), reader.block(), reader.bytes(64), reader.rest()
        if len(proof) not in (0, 32):
            raise Malformed("the length of the exit's proof")
        return cls(path, body, signature, proof)


@dataclass(frozen=True)
class AcceptanceBody:
    limits: Limits
    ciphertext: bytes
    wants_identity: bool
    relays: list
    opened: int = None
    """The bytes of the opening that the exit took, if it opened the stream"""
    direct: bool = False
    """Whether the exit understands direct paths"""

    @classmethod
    def decoded(cls, data):
        values = decode_parameters(data)
        reader, relays = Reader(values.get(RELAYS, b"")), []
        while not reader.is_at_end:
            relays.append(reader.text())
        wants_identity = _sized(values, WANTS_IDENTITY, 0, required=False) is not None
        if len(relays) > MAX_PATHS:
            raise Malformed("too many relays")
        opened = _integer(values, OPENED, None)
        return cls(_limits(values), _sized(values, CIPHERTEXT, 1_088), wants_identity, relays, opened, DIRECT in values)

    def encoded(self):
        values = self.limits.parameters() | {CIPHERTEXT: self.ciphertext}
        if self.wants_identity:
            values[WANTS_IDENTITY] = b""
        if self.direct:
            values[DIRECT] = b""
        return encode_parameters(values | {RELAYS: b"".join(map(text, self.relays))})


@dataclass(frozen=True)
class Refusal:
    code: int
    versions: tuple = (VERSION,)
    signature: bytes = b""

    def unsigned(self):
        return b"".join(map(varint, (REFUSAL, self.code, len(self.versions), *self.versions)))

    def signed_hash(self, offer_hash, author):
        return tagged_hash("nws/refusal", offer_hash, author, self.unsigned())

    def signed(self, exit_key, offer_hash, author):
        return replace(self, signature=exit_key.sign(self.signed_hash(offer_hash, author)))

    def encoded(self):
        return self.unsigned() + self.signature

    @classmethod
    def decoded(cls, data):
        reader = Reader(data)
        if reader.u8() != REFUSAL:
            raise Malformed("not a refusal")
        code = reader.varint()
        versions = tuple(reader.varint() for _ in range(reader.varint(8)))
        refusal = cls(code, versions, reader.bytes(64))
        reader.end()
        return refusal


# Keys


@dataclass(frozen=True)
class Generation:
    """The session keys of one generation, and the keys derived from them."""

    number: int
    transcript: bytes
    own: object
    """The own session key"""
    peer: bytes
    client_key: bytes
    exit_key: bytes
    root: bytes
    datagram_secret: bytes
    """The secret of the keys of direct paths"""

    @classmethod
    def derived(cls, number, transcript, own, peer, kem_secret, previous_root=b""):
        secret = own.conversation_key(peer) + kem_secret + previous_root
        keys = hkdf(secret, transcript, b"nws/session/1/keys", 128)
        return cls(number, transcript, own, peer, keys[:32], keys[32:64], keys[64:96], keys[96:])


def first_transcript(offer_hash, exit_session_key, body):
    return transcript_of(offer_hash, exit_session_key, hashlib.sha256(body).digest())


def transcript_of(offer_hash, exit_session_key, body_hash):
    return tagged_hash("nws/session/1/transcript", offer_hash, exit_session_key, body_hash)


def exit_hash(transcript):
    """What the exit signs."""
    return tagged_hash("nws/session/1/exit", transcript)


def identity_hash(transcript):
    """What the client signs."""
    return tagged_hash("nws/session/1/identity", transcript)


# Updates

CLIENT_UPDATE, EXIT_UPDATE = 1, 2


@dataclass(frozen=True)
class Update:
    """A message of a key update; the exit's has a signature."""

    generation: int
    key: bytes
    kem: bytes
    """The client's KEM key, or the exit's ciphertext"""
    signature: bytes = b""

    def unsigned(self):
        return varint(self.generation) + self.key + self.kem

    def encoded(self):
        fields = self.unsigned() + self.signature
        return varint(EXIT_UPDATE if self.signature else CLIENT_UPDATE) + varint(len(fields)) + fields

    @classmethod
    def decoded(cls, kind, fields):
        """Decodes the fields that follow the type and the length."""
        reader, is_client = Reader(fields), kind == CLIENT_UPDATE
        kem_size, signature_size = (1_184, 0) if is_client else (1_088, 64)
        update = cls(reader.varint(), reader.bytes(32), reader.bytes(kem_size), reader.bytes(signature_size))
        reader.end()
        return update

    def transcript(self, previous, client_update):
        """The transcript of the generation that this message of the exit begins."""
        return tagged_hash("nws/session/1/update", previous, client_update.unsigned(), self.unsigned())
