# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Test data that identifies its position in a stream, and checks that detect misplaced data."""

import asyncio
import hashlib
import socket
import struct

BLOCK = 1 << 14
PIECE = 1 << 16


class Violation(Exception):
    """A stream broke one of the guarantees that the soak test checks."""


class Pattern:
    """The expected bytes of one direction of one stream; every direction has its own."""

    def __init__(self, name):
        self._name = name
        self._last = (-1, b"")

    def _block(self, index):
        if self._last[0] != index:
            self._last = (index, hashlib.shake_128(f"{self._name}/{index}".encode()).digest(BLOCK))
        return self._last[1]

    def bytes(self, offset, count):
        pieces = []
        while count > 0:
            index, start = divmod(offset, BLOCK)
            piece = self._block(index)[start : start + count]
            pieces.append(piece)
            offset += len(piece)
            count -= len(piece)
        return b"".join(pieces)

    def check(self, offset, data, size):
        """Raises a Violation unless `data` is what belongs at `offset` in a stream of `size` bytes."""
        if offset + len(data) > size:
            raise Violation(f"received {offset + len(data) - size} bytes beyond the expected {size}")
        expected = self.bytes(offset, len(data))
        if data == expected:
            return
        first = next(index for index, byte in enumerate(data) if byte != expected[index])
        raise Violation(
            f"wrong bytes at offset {offset + first} of {size}: received {data[first:first + 16].hex()}, expected"
            f" {expected[first:first + 16].hex()}; the received bytes {self._origin(data[first : first + 16], size)}"
        )

    def _origin(self, data, size):
        place = self.bytes(0, size).find(data) if len(data) >= 4 else -1
        return "do not occur in the stream" if place < 0 else f"belong at offset {place}"


def stream_pattern(seed, number, side):
    return Pattern(f"{seed}/{number}/{side}")


def reset(writer):
    """Closes a connection with a TCP RST."""
    end = writer.get_extra_info("socket")
    if end is not None and end.fileno() >= 0:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def within(seconds, awaitable, what):
    """Returns the result of `awaitable`; raises a Violation if it takes longer than `seconds`."""
    try:
        return await asyncio.wait_for(awaitable, seconds)
    except asyncio.TimeoutError:
        raise Violation(f"timed out after {seconds} s: {what}") from None
