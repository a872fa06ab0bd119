# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""The wire format: integers and parameters (section B.1), packets (B.7) and frames (B.8)."""

import ipaddress
from dataclasses import dataclass, fields

from .crypto import MAX_PLAINTEXT

FROM_CLIENT, FROM_EXIT = 0x10, 0x11
MAX_TEXT = 512
MAX_PATHS = MAX_CANDIDATES = 16


class Malformed(ValueError):
    pass


def varint(value):
    for bits, prefix in ((6, 0), (14, 1), (30, 2), (62, 3)):
        if value < 1 << bits:
            return (value | prefix << bits).to_bytes((bits + 2) // 8, "big")
    raise ValueError(value)


def text(value):
    encoded = value.encode()
    return varint(len(encoded)) + encoded


class Reader:
    """Reads fields from bytes. Raises Malformed if they are cut short or beyond their bound."""

    def __init__(self, data):
        self._data = bytes(data)
        self.position = 0

    @property
    def is_at_end(self):
        return self.position == len(self._data)

    def bytes(self, count):
        piece = self._data[self.position : self.position + count]
        if len(piece) < count:
            raise Malformed("cut short")
        self.position += count
        return piece

    def rest(self):
        return self.bytes(len(self._data) - self.position)

    def u8(self):
        return self.bytes(1)[0]

    def varint(self, maximum=(1 << 62) - 1):
        first = self.u8()
        value = int.from_bytes(bytes([first & 0x3F]) + self.bytes((1 << (first >> 6)) - 1), "big")
        if value > maximum:
            raise Malformed(f"{value} is beyond {maximum}")
        return value

    def block(self, maximum=MAX_PLAINTEXT):
        """Reads bytes that follow their length."""
        return self.bytes(self.varint(maximum))

    def text(self):
        try:
            return self.block(MAX_TEXT).decode()
        except UnicodeDecodeError as error:
            raise Malformed("not UTF-8") from error

    def end(self):
        if not self.is_at_end:
            raise Malformed("bytes after the end")


def encode_parameters(values):
    """Encodes a dictionary of identifiers and values."""
    return b"".join(varint(identifier) + varint(len(value)) + value for identifier, value in values.items())


def decode_parameters(data):
    """Returns a dictionary of identifiers and values."""
    reader, values = Reader(data), {}
    while not reader.is_at_end:
        identifier = reader.varint()
        if identifier in values or len(values) == 64:
            raise Malformed("a parameter occurs twice, or there are too many")
        values[identifier] = reader.block()
    return values


# Frames. The fields of each class are those of the frame, in the same order; LAYOUTS says how they are encoded.


@dataclass
class Padding:
    pass


@dataclass
class Ping:
    pass


@dataclass
class Ack:
    path: int
    delay: int
    ranges: list
    """Inclusive ranges (first, last) of numbers, the largest first"""


@dataclass
class ResetStream:
    stream: int
    code: int
    final_size: int


@dataclass
class StopSending:
    stream: int
    code: int


@dataclass
class Crypto:
    offset: int
    data: bytes


@dataclass
class StreamData:
    stream: int
    offset: int
    data: bytes
    fin: bool

    @property
    def end(self):
        return self.offset + len(self.data)


@dataclass
class MaxData:
    limit: int


@dataclass
class MaxStreamData:
    stream: int
    limit: int


@dataclass
class ConnectionClose:
    code: int
    reason: str


@dataclass
class ImmediateAck:
    pass


@dataclass
class OpenStream:
    stream: int
    port: int
    destination: str


@dataclass
class StreamOpened:
    stream: int


@dataclass
class Identity:
    generation: int
    key: bytes
    signature: bytes


@dataclass
class NewPath:
    path: int
    url: str


@dataclass
class NewTicket:
    lifetime: int
    secret: bytes


@dataclass
class DuplicateKey:
    exit_session_key: bytes
    body_hash: bytes
    signature: bytes


@dataclass
class NewConnectionID:
    sequence: int
    identifier: bytes


@dataclass
class RetireConnectionID:
    sequence: int


@dataclass
class Candidates:
    sequence: int
    candidates: list
    """Pairs of a kind and an address (IP as text, port)"""


LAYOUTS = {
    Padding: (0x00,),
    Ping: (0x01,),
    Ack: (0x02,),
    ResetStream: (0x04, "varint", "varint", "varint"),
    StopSending: (0x05, "varint", "varint"),
    Crypto: (0x06, "varint", "block"),
    StreamData: (0x0C,),
    MaxData: (0x10, "varint"),
    MaxStreamData: (0x11, "varint", "varint"),
    ConnectionClose: (0x1C, "varint", "text"),
    NewConnectionID: (0x18, "varint", "bytes 8"),
    RetireConnectionID: (0x19, "varint"),
    ImmediateAck: (0x1F,),
    OpenStream: (0x40, "varint", "port", "text"),
    StreamOpened: (0x41, "varint"),
    Identity: (0x43, "varint", "bytes 32", "bytes 64"),
    NewPath: (0x44, "path", "text"),
    NewTicket: (0x45, "varint", "bytes 32"),
    DuplicateKey: (0x46, "bytes 32", "bytes 32", "bytes 64"),
    Candidates: (0x47, "varint", "candidates"),
}
CLASSES = {layout[0]: kind for kind, layout in LAYOUTS.items()}
NOT_ELICITING = (Padding, Ack, ConnectionClose, ImmediateAck)

def _encode_candidate(candidate):
    kind, (ip, port) = candidate
    packed = ipaddress.ip_address(ip).packed
    return bytes([kind, len(packed)]) + packed + port.to_bytes(2, "big")


def _decode_candidate(reader):
    kind, size = reader.u8(), reader.u8()
    if size not in (4, 16):
        raise Malformed("neither IPv4 nor IPv6")
    return kind, (str(ipaddress.ip_address(reader.bytes(size))), int.from_bytes(reader.bytes(2), "big"))


ENCODERS = {
    "varint": varint,
    "port": varint,
    "path": varint,
    "text": text,
    "block": lambda value: varint(len(value)) + value,
    "candidates": lambda values: varint(len(values)) + b"".join(map(_encode_candidate, values)),
    "bytes 8": bytes,
    "bytes 32": bytes,
    "bytes 64": bytes,
}
DECODERS = {
    "varint": Reader.varint,
    "port": lambda reader: reader.varint(65_535),
    "path": lambda reader: reader.varint(MAX_PATHS - 1),
    "text": Reader.text,
    "block": lambda reader: reader.block(8_192),
    "candidates": lambda reader: [_decode_candidate(reader) for _ in range(reader.varint(MAX_CANDIDATES))],
    "bytes 8": lambda reader: reader.bytes(8),
    "bytes 32": lambda reader: reader.bytes(32),
    "bytes 64": lambda reader: reader.bytes(64),
}


def encode_frame(frame):
    if isinstance(frame, Ack):
        return _encode_ack(frame)
    if isinstance(frame, StreamData):
        head = varint(0x0E | frame.fin) + varint(frame.stream) + varint(frame.offset)
        return head + varint(len(frame.data)) + frame.data
    number, *layout = LAYOUTS[type(frame)]
    values = (getattr(frame, field.name) for field in fields(frame))
    return varint(number) + b"".join(ENCODERS[kind](value) for kind, value in zip(layout, values))


def decode_frame(reader):
    number = reader.varint()
    if number == 0x02:
        return _decode_ack(reader)
    if 0x0C <= number <= 0x0F:
        stream, offset = reader.varint(), reader.varint()
        data = reader.block() if number & 2 else reader.rest()
        if offset + len(data) >= 1 << 62:
            raise Malformed("a stream is too long")
        return StreamData(stream, offset, data, bool(number & 1))
    kind = CLASSES.get(number)
    if kind is None:
        raise Malformed(f"unknown frame {number}")
    return kind(*(DECODERS[field](reader) for field in LAYOUTS[kind][1:]))


def _encode_ack(ack):
    (first, largest), *others = ack.ranges
    encoded = [0x02, ack.path, largest, ack.delay, len(others), largest - first]
    for begin, end in others:
        encoded += [first - end - 2, end - begin]
        first = begin
    return b"".join(map(varint, encoded))


def _decode_ack(reader):
    # The direct path has the number after those of relays.
    path, largest, delay, count = reader.varint(MAX_PATHS), reader.varint(), reader.varint(), reader.varint(63)
    first = largest - reader.varint(largest)
    ranges = [(first, largest)]
    for _ in range(count):
        end = first - reader.varint() - 2
        first = end - reader.varint()
        if first < 0:
            raise Malformed("a range of packets begins below 0")
        ranges.append((first, end))
    return Ack(path, delay, ranges)


def decode_frames(data):
    reader, frames = Reader(data), []
    while not reader.is_at_end:
        frames.append(decode_frame(reader))
    return frames


def encode_packet(kind, path, number, data):
    return bytes([kind]) + varint(path) + varint(number) + data


def decode_packet(data):
    """Returns the kind, path, number, and the encoded frames."""
    reader = Reader(data)
    return reader.u8(), reader.varint(MAX_PATHS - 1), reader.varint(), reader.rest()
