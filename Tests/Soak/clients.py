# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Clients of an entry that check all data they receive. The seed and a stream's number determine what it does."""

import asyncio
import dataclasses
import hashlib
import json
import random
import socket
import time

from pattern import PIECE, Violation, reset, stream_pattern, within

KINDS = {
    "echo": 28,
    "download": 18,
    "upload": 18,
    "slow reader": 6,
    "idle": 6,
    "chat": 8,
    "client resets": 7,
    "service resets": 6,
    "refused": 3,
}
"""The kinds of streams with their relative frequencies."""
LARGEST = 4_000_000
ECHO, SENDER, SINK, NOBODY = 7, 19, 9, 23
"""Ports of the exit; nothing listens behind NOBODY."""
REFUSED = 5
"""The SOCKS reply for a stream to NOBODY."""


@dataclasses.dataclass
class Plan:
    """What a stream will do."""

    number: int
    kind: str
    port: int
    size: int
    head: dict
    stops_after: int
    """Bytes after which the client resets the stream, if its kind is "client resets"."""
    finishes_first: bool
    generator: random.Random

    @classmethod
    def make(cls, seed, number):
        generator = random.Random(f"{seed}/{number}")
        kind = generator.choices(list(KINDS), list(KINDS.values()))[0]
        size = int(LARGEST ** generator.random()) if generator.random() < 0.95 else generator.choice((0, 1, 4_096, 65_536))
        port = {"download": SENDER, "slow reader": SENDER, "upload": SINK, "refused": NOBODY}.get(kind, ECHO)
        if kind in ("client resets", "service resets"):
            port = generator.choice((ECHO, SENDER, SINK))
        if kind in ("idle", "chat"):
            size = min(size, 20_000)
        if kind == "slow reader":
            size = max(size, 300_000)
        head = {"number": number, "size": size}
        if kind == "service resets":
            head["size"] = size = max(size, 1)
            head["reset"] = generator.randint(1, size)
        finishes_first = generator.random() < 0.5
        if port == SENDER and kind != "service resets" and not finishes_first:
            head["tail"] = generator.choice((0, 1, 50_000))
        return cls(number, kind, port, size, head, generator.randint(0, size), finishes_first, generator)


@dataclasses.dataclass
class Stream:
    """The progress and outcome of a stream."""

    plan: Plan
    started: float
    opened: float = 0.0
    ended: float = 0.0
    outcome: str = "open"
    """open, complete, planned (a planned reset), refused, broken, short (a clean end too early) or wrong"""
    detail: str = ""
    sent: int = 0
    received: int = 0

    def __str__(self):
        return (
            f"stream {self.plan.number} ({self.plan.kind}, port {self.plan.port}, {self.plan.size} bytes): sent {self.sent},"
            f" received {self.received}, {self.ended - self.started:.1f} s"
        )


class Refused(Exception):
    """The entry refused to open the stream."""


class ShortEnd(Exception):
    """The stream ended cleanly before all data had arrived."""


class Client:
    """One connection to the entry."""

    def __init__(self, seed, stream, entry, host, patience):
        self.seed = seed
        self.stream = stream
        self.plan = stream.plan
        self.entry = entry
        self.host = host.encode()
        self.patience = patience

    async def run(self):
        """Runs the planned stream and records its outcome."""
        stream = self.stream
        writer = None
        try:
            self.reader, self.writer = await within(
                self.patience, asyncio.open_connection(sock=await self.connect()), "connecting to the entry"
            )
            writer = self.writer
            await self.open()
            stream.opened = time.monotonic()
            stream.outcome = await self.act()
        except Refused as error:
            stream.outcome, stream.detail = "refused", str(error)
        except ShortEnd as error:
            stream.outcome, stream.detail = "short", str(error)
        except OSError as error:
            stream.outcome, stream.detail = "broken" if stream.opened else "refused", error.strerror or str(error)
        except Violation as error:
            stream.outcome, stream.detail = "wrong", str(error)
        finally:
            stream.ended = time.monotonic()
            if writer is not None:
                writer.close() if stream.outcome == "complete" else writer.transport.abort()

    async def connect(self):
        """Connects to the entry; a slow reader gets a small receive buffer."""
        end = socket.socket()
        end.setblocking(False)
        if self.plan.kind == "slow reader":
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
        try:
            await asyncio.get_running_loop().sock_connect(end, self.entry)
        except BaseException:
            end.close()
            raise
        return end

    async def open(self):
        self.writer.write(b"\x05\x01\x00")
        await self.reply(2)
        request = b"\x05\x01\x00\x03" + bytes([len(self.host)]) + self.host + self.plan.port.to_bytes(2, "big")
        self.writer.write(request)
        answer = await self.reply(10)
        if answer[1] == REFUSED and self.plan.kind == "refused":
            self.stream.opened = time.monotonic()
        elif answer[1] != 0:
            raise Refused(f"SOCKS reply {answer[1]}")

    async def reply(self, count):
        try:
            return await within(self.patience, self.reader.readexactly(count), "waiting for a SOCKS reply")
        except asyncio.IncompleteReadError:
            raise Refused("connection closed before a complete SOCKS reply") from None

    # Kinds of streams

    async def act(self):
        kind, port = self.plan.kind, self.plan.port
        if kind == "refused":
            if self.stream.opened:
                return "complete"
            raise Violation("the stream was opened although nothing listens on its port")
        self.writer.write(json.dumps(self.plan.head).encode() + b"\n")
        if kind == "client resets":
            return await self.reset_midway()
        if kind in ("idle", "chat"):
            return await self.talk()
        if port == SENDER:
            return await self.download()
        if port == SINK:
            return await self.upload()
        return await self.echo()

    async def read(self, most=PIECE):
        return await within(self.patience, self.reader.read(most), "client waiting for data")

    async def send(self, side, offset, count):
        """Sends bytes of the pattern in pieces of random size, with occasional pauses."""
        pattern = stream_pattern(self.seed, self.plan.number, side)
        end = offset + count
        generator = self.plan.generator
        piece = max(count // 50, generator.choice((1, 100, 1_400, 16_384, 65_536)))
        while offset < end:
            if generator.random() < 0.02:
                await asyncio.sleep(generator.random())
            data = pattern.bytes(offset, min(generator.randint(1, piece), end - offset))
            self.writer.write(data)
            await within(self.patience, self.writer.drain(), "client writing")
            offset += len(data)
            self.stream.sent = offset

    async def receive(self, side, size, most=None, pause=0.0):
        """Reads to the end, or until `most` bytes have been received in total, and checks every byte."""
        pattern = stream_pattern(self.seed, self.plan.number, side)
        while most is None or self.stream.received < most:
            data = await self.read(PIECE if most is None else most - self.stream.received)
            if not data:
                if self.stream.received < size or "reset" in self.plan.head:
                    raise ShortEnd(f"clean end after {self.stream.received} of {size} bytes")
                return
            pattern.check(self.stream.received, data, size)
            self.stream.received += len(data)
            if pause and self.plan.generator.random() < 0.3:
                await asyncio.sleep(pause * self.plan.generator.random())

    async def both(self, first, second):
        """Runs two coroutines at once; an exception of one cancels the other."""
        tasks = [asyncio.ensure_future(first), asyncio.ensure_future(second)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def echo(self):
        async def send():
            await self.send("client", 0, self.plan.size)
            if "reset" not in self.plan.head:
                self.writer.write_eof()

        await self.both(send(), self.receive("client", self.plan.size))
        return "complete"

    async def download(self):
        pause = 0.0
        if self.plan.kind == "slow reader":
            pause = self.plan.generator.choice((0.05, 0.2))
            await asyncio.sleep(self.plan.generator.uniform(0, 8))
        if self.plan.finishes_first and "reset" not in self.plan.head:
            self.writer.write_eof()
        await self.receive("service", self.plan.size, pause=pause)
        if "tail" in self.plan.head:
            await self.send("client", 0, self.plan.head["tail"])
            self.writer.write_eof()
        return "complete"

    async def upload(self):
        await self.send("client", 0, self.plan.size)
        if "reset" in self.plan.head:
            # The service resets the connection, so this raises.
            await self.receive("service", 0)
        self.writer.write_eof()
        answer = b""
        while data := await self.read():
            answer += data
        expected = hashlib.sha256(stream_pattern(self.seed, self.plan.number, "client").bytes(0, self.plan.size))
        if len(answer) < 64:
            raise ShortEnd(f"received {len(answer)} of 64 bytes of the digest")
        if answer.decode("latin-1") != expected.hexdigest():
            raise Violation(f"the sink received other data than was sent; its digest: {answer[:80]}")
        return "complete"

    async def talk(self):
        """Sends data and waits for its echo, several times; an idle stream pauses in between."""
        turns = self.plan.generator.randint(2, 4) if self.plan.kind == "idle" else self.plan.generator.randint(5, 40)
        said = 0
        for turn in range(turns):
            count = self.plan.size - said if turn == turns - 1 else self.plan.generator.randint(0, self.plan.size - said)
            await self.send("client", said, count)
            said += count
            await self.receive("client", self.plan.size, most=said)
            if self.plan.kind == "idle":
                await asyncio.sleep(self.plan.generator.uniform(1, 8))
        self.writer.write_eof()
        await self.receive("client", self.plan.size)
        return "complete"

    async def reset_midway(self):
        """Resets the connection in the middle of sending or receiving, as a crashing client does."""
        if self.plan.port == SENDER:
            await self.receive("service", self.plan.size, most=self.plan.stops_after)
        else:
            await self.send("client", 0, self.plan.stops_after)
        if self.plan.generator.random() < 0.5:
            await asyncio.sleep(self.plan.generator.random())
        reset(self.writer)
        return "planned"
