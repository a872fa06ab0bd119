# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Enrolment: an invite is exchanged for an identity (section B.9)."""

import hashlib
from dataclasses import dataclass

from .crypto import hkdf, is_signed, tagged_hash

PREFIX = "nwsinvite"
ENROLLED = 0
MAX_NAME = 64
MAX_REQUEST = 32 + 32 + 64 + 1 + MAX_NAME
ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def token_of(secret, exit_public):
    return hkdf(secret, b"nws/enrolment", exit_public, 32)


def verifier_of(token):
    """What the exit stores."""
    return hashlib.sha256(token).digest()


def enrolment_hash(transcript, token, name):
    return tagged_hash("nws/session/1/enrolment", transcript, token, name)


@dataclass(frozen=True)
class Request:
    token: bytes
    identity: bytes
    signature: bytes
    name: bytes

    @classmethod
    def signed(cls, identity, token, name, transcript, randomness=None):
        signature = identity.sign(enrolment_hash(transcript, token, name), randomness)
        return cls(token, identity.public, signature, name)

    def encoded(self):
        return self.token + self.identity + self.signature + bytes([len(self.name)]) + self.name

    @classmethod
    def decoded(cls, data):
        name = data[129:]
        if len(data) < 129 or data[128] != len(name) or len(name) > MAX_NAME:
            raise ValueError("malformed request")
        name.decode()
        return cls(data[:32], data[32:64], data[64:128], name)

    def is_proven(self, transcript):
        return is_signed(self.identity, enrolment_hash(transcript, self.token, self.name), self.signature)


def answer(ports, others=False):
    """The answer to a device that the exit enrolled."""
    numbers = b"".join(port.to_bytes(2, "big") for port in ports)
    return bytes([ENROLLED, others]) + len(ports).to_bytes(2, "big") + numbers


def read_answer(data):
    """Returns the code, and for ENROLLED also the ports and whether there are others."""
    code = data[0]
    if code != ENROLLED:
        if len(data) != 1:
            raise ValueError("malformed answer")
        return code, None, None
    count = int.from_bytes(data[2:4], "big")
    ports = [int.from_bytes(data[at : at + 2], "big") for at in range(4, len(data), 2)]
    if data[1] > 1 or len(ports) != count or len(data) != 4 + 2 * count:
        raise ValueError("malformed answer")
    return code, ports, bool(data[1])


# Lines of invites


def _polymod(values):
    generator = [0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3]
    checksum = 1
    for value in values:
        top, checksum = checksum >> 25, (checksum & 0x1FFFFFF) << 5 ^ value
        for bit in range(5):
            checksum ^= generator[bit] if top >> bit & 1 else 0
    return checksum


def _expanded(prefix):
    return [ord(letter) >> 5 for letter in prefix] + [0] + [ord(letter) & 31 for letter in prefix]


def _regrouped(values, size, new_size, pads):
    bits = "".join(f"{value:0{size}b}" for value in values)
    if pads:
        bits += "0" * (-len(bits) % new_size)
    return [int(bits[at : at + new_size], 2) for at in range(0, len(bits) - new_size + 1, new_size)]


@dataclass(frozen=True)
class Invite:
    exit: bytes
    relays: tuple
    secret: bytes
    label: str = ""
    expires: int | None = None

    def encoded(self):
        fields = [(0, self.exit), *((1, url.encode()) for url in self.relays), (2, self.secret)]
        if self.label:
            fields.append((3, self.label.encode()))
        if self.expires is not None:
            fields.append((4, self.expires.to_bytes(8, "big", signed=True)))
        data = b"".join(bytes([kind, len(value)]) + value for kind, value in fields)
        groups = _regrouped(data, 8, 5, pads=True)
        checksum = _polymod(_expanded(PREFIX) + groups + [0] * 6) ^ 1
        groups += [checksum >> 5 * (5 - at) & 31 for at in range(6)]
        return PREFIX + "1" + "".join(ALPHABET[group] for group in groups)

    @classmethod
    def decoded(cls, line):
        prefix, _, text = line.strip().lower().rpartition("1")
        groups = [ALPHABET.index(letter) for letter in text]
        if prefix != PREFIX or _polymod(_expanded(prefix) + groups) != 1:
            raise ValueError("not an invite")
        data = bytes(_regrouped(groups[:-6], 5, 8, pads=False))
        fields, relays = {}, []
        while data:
            kind, length = data[0], data[1]
            value, data = data[2 : 2 + length], data[2 + length :]
            if kind == 1:
                relays.append(value.decode())
            fields[kind] = value
        expires = int.from_bytes(fields[4], "big", signed=True) if 4 in fields else None
        return cls(fields[0], tuple(relays), fields[2], fields.get(3, b"").decode(), expires)
