# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Services behind the exit that check all data they receive.

A connection begins with a line of JSON: `number` and `size` of the stream, and optionally `reset` (the service resets
the connection after that many bytes) or `tail` (number of bytes that the client sends after the service has finished).
"""

import asyncio
import dataclasses
import hashlib
import json
import time

from pattern import PIECE, Violation, reset, stream_pattern, within


@dataclasses.dataclass
class Visit:
    """One connection to a service and its outcome."""

    service: str
    started: float
    number: int = -1
    ended: float = 0.0
    outcome: str = "open"
    """open, complete, reset, short (a clean end too early), planned (reset by the service) or wrong"""
    received: int = 0
    detail: str = ""


class Services:
    """An echo, a sender of a deterministic stream, and a sink that returns the SHA-256 of the data it received."""

    def __init__(self, seed, patience, on_violation):
        self.seed = seed
        self.patience = patience
        self.on_violation = on_violation
        self.visits = {}
        """Visits by stream number; those without a first line are under -1."""
        self.open = set()
        self.ports = {}
        self._servers = []

    async def start(self):
        for name, function in (("echo", self.echo), ("sender", self.sender), ("sink", self.sink)):
            server = await asyncio.start_server(self._serving(name, function), "127.0.0.1", 0, backlog=512)
            self._servers.append(server)
            self.ports[name] = server.sockets[0].getsockname()[1]

    def close(self):
        for server in self._servers:
            server.close()

    def _serving(self, name, function):
        async def serve(reader, writer):
            visit = Visit(name, time.monotonic())
            self.open.add(visit_key := id(visit))
            try:
                line = await within(self.patience, reader.readline(), "service waiting for the first line")
                if line.endswith(b"\n"):
                    head = json.loads(line)
                    visit.number = head["number"]
                    await function(visit, head, reader, writer)
                else:
                    visit.outcome = "short"
                    visit.detail = f"received only {len(line)} bytes of the first line"
            except (ConnectionError, OSError) as error:
                visit.outcome = "reset"
                visit.detail = str(error)
            except (Violation, ValueError, KeyError) as error:
                visit.outcome = "wrong"
                visit.detail = str(error) or repr(error)
            finally:
                visit.ended = time.monotonic()
                self.open.discard(visit_key)
                self.visits.setdefault(visit.number, []).append(visit)
                writer.transport.abort() if visit.outcome != "complete" else writer.close()
            if visit.outcome == "wrong":
                self.on_violation(visit.number, f"service {name}: {visit.detail}")

        return serve

    async def _read(self, reader, visit):
        return await within(self.patience, reader.read(PIECE), f"service waiting for data after {visit.received} bytes")

    async def _write(self, writer, data):
        writer.write(data)
        await within(self.patience, writer.drain(), "service writing")

    async def _read_all(self, visit, head, reader, on_data):
        """Reads to the end and checks every byte; returns whether all bytes arrived."""
        size = head["size"]
        pattern = stream_pattern(self.seed, visit.number, "client")
        while data := await self._read(reader, visit):
            pattern.check(visit.received, data, size)
            visit.received += len(data)
            if "reset" in head and visit.received >= head["reset"]:
                visit.outcome = "planned"
                return False
            await on_data(data)
        if visit.received < size:
            visit.outcome = "short"
            visit.detail = f"received {visit.received} of {size} bytes"
            return False
        return True

    async def echo(self, visit, head, reader, writer):
        if await self._read_all(visit, head, reader, lambda data: self._write(writer, data)):
            writer.write_eof()
            visit.outcome = "complete"
        elif visit.outcome == "planned":
            reset(writer)

    async def sink(self, visit, head, reader, writer):
        digest = hashlib.sha256()

        async def take(data):
            digest.update(data)

        if await self._read_all(visit, head, reader, take):
            await self._write(writer, digest.hexdigest().encode())
            writer.write_eof()
            visit.outcome = "complete"
        elif visit.outcome == "planned":
            reset(writer)

    async def sender(self, visit, head, reader, writer):
        pattern = stream_pattern(self.seed, visit.number, "service")
        sent = 0
        end = head.get("reset", head["size"])
        while sent < end:
            piece = pattern.bytes(sent, min(PIECE, end - sent))
            await self._write(writer, piece)
            sent += len(piece)
        if "reset" in head:
            visit.outcome = "planned"
            reset(writer)
            return
        writer.write_eof()

        async def take(_):
            pass

        if await self._read_all(visit, {"size": head.get("tail", 0)}, reader, take):
            visit.outcome = "complete"
