# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Direct paths: datagrams between client and exit, without a relay (section B.15)."""

import ipaddress
import os
import socket
import threading
import time

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from .session import DIRECT_PATH, Path
from .wire import Candidates, Malformed, NewConnectionID, Reader, RetireConnectionID, decode_frames

HEADER = 13
PACKETS, CHECKS = 0, 1
REQUEST, RESPONSE = 1, 2
CHECK_LENGTH = 1_171
REPETITIONS = (0, 0.2, 0.5, 1, 2, 4, 8)
OWN_IDS = 16


# Keys and datagrams


def datagram_key(secret, direction, space):
    """Returns the key and the iv of a direction (0 from the client, 1 from the exit) and a space of numbers."""
    info = b"nws/session/1/datagram" + bytes([direction, space])
    derived = HKDFExpand(algorithm=SHA256(), length=44, info=info).derive(secret)
    return derived[:32], derived[32:]


def header_key(secret, direction):
    """`secret` is that of generation 0."""
    return HKDFExpand(algorithm=SHA256(), length=32, info=b"nws/session/1/header" + bytes([direction])).derive(secret)


def _nonce(iv, number):
    return iv[:4] + (int.from_bytes(iv[4:], "big") ^ number).to_bytes(8, "big")


def _masked(datagram, key):
    """Adds the protection of the header, or removes it."""
    mask = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(datagram[HEADER : HEADER + 16])
    first = datagram[0] ^ mask[0] & 0x1F
    number = bytes(a ^ b for a, b in zip(datagram[9:HEADER], mask[1:5]))
    return bytes([first]) + datagram[1:9] + number + datagram[HEADER:]


def seal(secret, header, direction, connection, space, generation, number, plaintext):
    """Returns a datagram. `header` is the header key of the direction."""
    head = bytes([0x40 | space << 2 | (generation & 1) << 1]) + connection + (number & 0xFFFFFFFF).to_bytes(4, "big")
    key, iv = datagram_key(secret, direction, space)
    return _masked(head + AESGCM(key).encrypt(_nonce(iv, number), plaintext, head), header)


def opened(secrets, header, direction, datagram, expected):
    """Returns generation, space, number and plaintext. Raises ValueError if the peer did not make the datagram.

    `secrets` has the secret of each generation, `expected` the number after the largest one received, by space.
    """
    if len(datagram) < HEADER + 16 or datagram[0] >> 5 != 0b010:
        raise ValueError("not a datagram of a direct path")
    datagram = _masked(datagram, header)
    if datagram[0] & 0x19:
        raise ValueError("a bit that must be zero")
    space, phase = datagram[0] >> 2 & 1, datagram[0] >> 1 & 1
    number = expected[space] & ~0xFFFFFFFF | int.from_bytes(datagram[9:HEADER], "big")
    if number <= expected[space] - (1 << 31):
        number += 1 << 32
    elif number > expected[space] + (1 << 31) and number >= 1 << 32:
        number -= 1 << 32
    for generation, secret in secrets.items():
        if generation & 1 != phase:
            continue
        key, iv = datagram_key(secret, direction, space)
        try:
            plaintext = AESGCM(key).decrypt(_nonce(iv, number), datagram[HEADER:], datagram[:HEADER])
        except InvalidTag:
            continue
        return generation, space, number, plaintext
    raise ValueError("the datagram does not decrypt")


def encode_address(address):
    ip = ipaddress.ip_address(address[0]).packed
    return bytes([len(ip)]) + ip + address[1].to_bytes(2, "big")


def decode_address(reader):
    size = reader.u8()
    if size not in (4, 16):
        raise Malformed("neither IPv4 nor IPv6")
    return str(ipaddress.ip_address(reader.bytes(size))), int.from_bytes(reader.bytes(2), "big")


def check(kind, token, address=None):
    """Returns the plaintext of a check. A response has the address from which the request came."""
    body = bytes([kind]) + token + (encode_address(address) if address else b"")
    return body.ljust(CHECK_LENGTH, b"\0")


# The path


class DirectPath(Path):
    """The path of datagrams, over one socket of IPv4. It stands in for a relay, which is open until the session ends."""

    def __init__(self, session):
        super().__init__(DIRECT_PATH, self)
        self.is_open = True
        self._session = session
        self._direction = 0 if session.is_client else 1
        first = session.sending.datagram_secret
        self._headers = [header_key(first, direction) for direction in (0, 1)]
        self._own_ids, self._peer_ids, self._used_ids, self._retired = {}, {}, {}, set()
        self._expected, self._seen, self._next_check = [0, 0], set(), 0
        self._candidates_sent = 0
        self._tokens, self._working, self._due = {}, set(), []
        self.remote = None
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.02)
        self.address = self._socket.getsockname()
        threading.Thread(target=self._run, daemon=True).start()

    def close(self):
        self.is_open = False

    def offer(self):
        """Tells the peer connection IDs and the address of the socket."""
        for _ in range(OWN_IDS):
            self._issue()
        self._session.send(Candidates(self._candidates_sent, [(0, self.address)]))
        self._candidates_sent += 1

    def _issue(self):
        sequence, identifier = len(self._own_ids), os.urandom(8)
        self._own_ids[identifier] = sequence
        self._session.send(NewConnectionID(sequence, identifier))

    def handle(self, frame):
        match frame:
            case NewConnectionID():
                self._peer_ids[frame.sequence] = frame.identifier
            case RetireConnectionID():
                if frame.sequence >= len(self._own_ids):
                    raise Malformed("a connection ID that was never given")
                if frame.sequence not in self._retired:
                    self._retired.add(frame.sequence)
                    self._issue()
            case Candidates():
                for _, address in frame.candidates:
                    self._look(address)

    def _look(self, address):
        if "." in address[0]:
            self._due += [(time.monotonic() + pause, address) for pause in REPETITIONS]

    # Datagrams

    def send(self, number, data):
        if self.remote:
            self._send(PACKETS, number, data, self.remote)

    def _send(self, space, number, plaintext, address):
        # Each address gets its own connection ID.
        if unused := sorted(self._peer_ids.keys() - self._used_ids.values()):
            self._used_ids.setdefault(address, unused[0])
        if address in self._used_ids:
            generation = self._session.sending
            datagram = seal(
                generation.datagram_secret, self._headers[self._direction], self._direction,
                self._peer_ids[self._used_ids[address]], space, generation.number, number, plaintext,
            )  # fmt: skip
            self._socket.sendto(datagram, address)

    def _send_check(self, plaintext, address):
        self._send(CHECKS, self._next_check, plaintext, address)
        self._next_check += 1

    def _run(self):
        while self.is_open:
            with self._session.changed:
                now = time.monotonic()
                due, self._due = [d for d in self._due if d[0] <= now], [d for d in self._due if d[0] > now]
                for _, address in due:
                    if address not in self._working:
                        token = os.urandom(8)
                        self._tokens[token] = address
                        self._send_check(check(REQUEST, token), address)
            try:
                datagram, address = self._socket.recvfrom(2_048)
            except TimeoutError:
                continue
            with self._session.changed:
                try:
                    self._receive(datagram, address)
                except ValueError:
                    continue
                self._session.changed.notify_all()
        self._socket.close()

    def _receive(self, datagram, address):
        if datagram[1:9] not in self._own_ids or self._session.is_closed:
            return
        generations = {g.number: g for g in self._session.generations.values()}
        secrets = {number: generation.datagram_secret for number, generation in generations.items()}
        peer = 1 - self._direction
        number_of, space, number, plaintext = opened(secrets, self._headers[peer], peer, datagram, self._expected)
        self._expected[space] = max(self._expected[space], number + 1)
        if space == CHECKS:
            if number not in self._seen:
                self._seen.add(number)
                self._receive_check(plaintext, address)
        elif number not in self.received:
            self._session.receive_datagram(generations[number_of], self, number, decode_frames(plaintext))
            if not self._session.is_client and address in self._working:
                self.remote = address

    def _receive_check(self, plaintext, address):
        reader = Reader(plaintext)
        kind, token = reader.u8(), reader.bytes(8)
        if kind == REQUEST and len(plaintext) >= CHECK_LENGTH:
            self._send_check(check(RESPONSE, token, address), address)
            if address not in self._tokens.values():
                self._look(address)
        elif kind == RESPONSE and token in self._tokens:
            decode_address(reader)
            self._working.add(self._tokens[token])
            if self.remote is None and self._session.is_client:
                self.remote = self._tokens[token]
                # Data follows when a PING was acknowledged.
                self.probe_at = time.monotonic()
