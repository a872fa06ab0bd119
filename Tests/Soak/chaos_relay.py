# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""A proxy in front of a relay that injects faults. Prints `relay: ws://…` and runs until it is killed.

    chaos_relay.py ws://127.0.0.1:7777 --seed 7 --drop 0.1 --disconnect 0.05

Every fault has a rate, and all faults can be active at once. `GET /chaos` on the same port returns the number of each
fault so far as JSON. `GET /chaos?intensity=0` turns all faults off; other values scale the rates (1: as started).
"""

import argparse
import asyncio
import collections
import dataclasses
import heapq
import json
import random
import re
import string
import urllib.parse

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, WebSocketException

OPTIONS = {"compression": None, "max_size": None, "ping_interval": None}
EVENT, OK = b'["EVENT",', b'["OK",'
EVENT_ID = re.compile(rb'"id":"([0-9a-f]{64})"')
CREATED_AT = re.compile(rb'"created_at":(\d+)')
SIGNATURE = re.compile(rb'"sig":"([0-9a-f]{128})"')
CONTENT = re.compile(rb'"content":"([^"\\]*)"')
DELIVERY = re.compile(rb'\["EVENT",("[^"]*"),')
ACCEPTED = re.compile(rb'(\["OK","[0-9a-f]{64}"),(true|false),.*', re.DOTALL)
SUBSCRIPTION = re.compile(rb'\["(REQ|CLOSE)",("[^"]*")')

REFUSALS = ("rate-limited", "invalid", "blocked", "error", "auth-required", "mute")
CLOSE_CODES = (1000, 1001, 1002, 1003, 1008, 1009, 1011, 1012, 1013, 4000, 4999)
BATCH = 0.1
"""Seconds between batches on a connection that sorts its events."""
MOST_WAITING = 8 << 20
"""Queued bytes of one direction beyond which no more are read from its source."""
REMEMBERED = 64
"""Number of recent messages, in each direction, that may be replayed or reflected."""
HUGE = 200_000
"""Characters of a huge NOTICE."""
DEEP = 50_000
"""Levels of deeply nested JSON."""


@dataclasses.dataclass
class Rates:
    """Rates of faults: a fraction of messages or connections, or a number per second on each connection."""

    drop: float = 0.02
    """Fraction of events, in both directions, that are dropped; publishers still get OK."""
    duplicate: float = 0.02
    """Fraction of events, in both directions, that are sent twice."""
    reorder: float = 0.05
    """Fraction of events that are delayed so that others overtake them."""
    delay: float = 0.003
    """Fraction of messages that are delayed, together with all later ones."""
    truncate: float = 0.001
    """Fraction of messages that are truncated."""
    corrupt: float = 0.001
    """Fraction of messages of which some bytes are changed."""
    forge: float = 0.005
    """Fraction of events that are preceded by a copy with the same id and changed content or signature."""
    lie: float = 0.004
    """Fraction of published events that are answered with a rejection; half of these are still forwarded."""
    absurd: float = 0.5
    """Senseless messages per second on each connection."""
    closed: float = 0.01
    """CLOSED messages for an open subscription, per second on each connection."""
    disconnect: float = 0.02
    """Disconnects per second on each connection."""
    batch: float = 0.25
    """Fraction of connections whose events are delivered sorted, every 100 ms."""
    throttle: float = 0.25
    """Fraction of connections that are limited to --bytes-per-second."""


class Direction:
    """One direction of a connection: a queue of messages with the times at which they are due."""

    def __init__(self, target, bytes_per_second):
        self._target = target
        self._bytes_per_second = bytes_per_second
        self._waiting = []
        self._bytes = 0
        self._number = 0
        self._held_until = 0.0
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def put(self, message, late=0.0):
        """Queues a message; `late` delays it by seconds, so that later messages overtake it."""
        self._number += 1
        due = max(self._loop.time(), self._held_until) + late
        heapq.heappush(self._waiting, (due, self._number, message))
        self._bytes += len(message)
        self._changed.set()

    def hold(self, seconds):
        """Delays all messages that are queued from now on by at least `seconds`."""
        self._held_until = max(self._held_until, self._loop.time() + seconds)

    async def room(self):
        """Waits until the queue is below its limit."""
        while self._bytes > MOST_WAITING:
            await asyncio.sleep(0.02)

    async def run(self):
        while True:
            wait = self._waiting[0][0] - self._loop.time() if self._waiting else None
            if wait is None or wait > 0:
                self._changed.clear()
                try:
                    await asyncio.wait_for(self._changed.wait(), wait)
                except asyncio.TimeoutError:
                    pass
                continue
            _, _, message = heapq.heappop(self._waiting)
            self._bytes -= len(message)
            await self._target.send(message, text=True)
            if self._bytes_per_second:
                await asyncio.sleep(len(message) / self._bytes_per_second)


class Connection:
    """A client's connection and its connection to the relay."""

    def __init__(self, chaos, client, relay, generator):
        self.chaos = chaos
        self.random = generator
        self.client = client
        self.relay = relay
        rate = chaos.bytes_per_second if self.happens("throttle") else None
        self.up = Direction(relay, rate)
        self.down = Direction(client, rate)
        self.is_sorted = self.happens("batch")
        self.batch = []
        self.live = set()
        self.sent = collections.deque(maxlen=REMEMBERED)
        self.delivered = collections.deque(maxlen=REMEMBERED)

    async def run(self):
        tasks = [
            asyncio.create_task(part)
            for part in (
                self.read_client(),
                self.read_relay(),
                self.up.run(),
                self.down.run(),
                self.deliver_batches(),
                self.be_absurd(),
                self.end_suddenly(),
            )
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            error = task.exception()
            if error and not isinstance(error, (ConnectionClosed, OSError)):
                raise error

    # Random decisions

    def happens(self, action):
        """Decides at random whether a fault happens now, and counts it if it does."""
        if self.random.random() >= getattr(self.chaos.rates, action) * self.chaos.intensity:
            return False
        self.chaos.counts[action] += 1
        return True

    async def next_time(self, action):
        """Waits until a fault with a rate per second is due."""
        while True:
            rate = getattr(self.chaos.rates, action) * self.chaos.intensity
            await asyncio.sleep(min(self.random.expovariate(rate), 3600) if rate > 0 else 1)
            if self.chaos.intensity > 0 and rate > 0:
                return

    # Messages

    async def read_client(self):
        while True:
            message = await self.client.recv(decode=False)
            await self.up.room()
            self.chaos.counts["messages up"] += 1
            if message.startswith(EVENT):
                self.event_up(message)
                continue
            subscription = SUBSCRIPTION.match(message)
            if subscription:
                verb, name = subscription.groups()
                (self.live.add if verb == b"REQ" else self.live.discard)(name)
            self.up.put(message)

    async def read_relay(self):
        while True:
            message = await self.relay.recv(decode=False)
            await self.down.room()
            self.chaos.counts["messages down"] += 1
            if message.startswith(EVENT):
                self.event_down(message)
            else:
                self.pass_on(self.down, message)

    def event_up(self, message):
        found = EVENT_ID.search(message)
        if found is None:
            self.up.put(message)
            return
        self.sent.append(message)
        if self.happens("drop"):
            self.answer(found.group(1), True, "")
            return
        if self.happens("lie"):
            prefix = self.random.choice(REFUSALS)
            self.chaos.counts["lie " + prefix] += 1
            self.answer(found.group(1), False, f"{prefix}: injected by the chaos relay")
            # If the event is still forwarded, the relay's own OK follows this rejection.
            if self.random.random() < 0.5:
                return
        self.event(self.up, message)

    def event_down(self, message):
        self.delivered.append(message)
        if self.happens("drop"):
            return
        if self.is_sorted:
            self.batch.append(message)
        else:
            self.event(self.down, message)

    def event(self, direction, message):
        if self.happens("forge"):
            direction.put(self.forged(message))
        self.pass_on(direction, message, 0.1 * self.random.random() if self.happens("reorder") else 0.0)
        if self.happens("duplicate"):
            direction.put(message, self.random.choice((0.0, self.random.random())))

    def pass_on(self, direction, message, late=0.0):
        if self.happens("delay"):
            direction.hold(self.chaos.longest_delay * self.random.random())
        if self.happens("truncate"):
            message = message[: self.random.randrange(len(message))]
        elif self.happens("corrupt"):
            message = self.corrupted(message)
        direction.put(message, late)

    def answer(self, event_id, accepted, reason):
        self.down.put(json.dumps(["OK", event_id.decode(), accepted, reason]).encode())

    async def deliver_batches(self):
        while True:
            await asyncio.sleep(BATCH)
            batch, self.batch = self.batch, []
            for message in sorted(batch, key=self.order):
                self.event(self.down, message)

    @staticmethod
    def order(message):
        """The sort key of a default strfry: date, then id."""
        date, event_id = CREATED_AT.search(message), EVENT_ID.search(message)
        return int(date.group(1)) if date else 0, event_id.group(1) if event_id else b""

    # Changing messages

    def corrupted(self, message):
        """Returns the message with some bytes changed; in half of the cases possibly to invalid UTF-8."""
        spoiled = bytearray(message)
        letters = bytes(range(256)) if self.random.random() < 0.5 else string.printable.encode()
        for _ in range(self.random.randint(1, 8)):
            spoiled[self.random.randrange(len(spoiled))] = self.random.choice(letters)
        return bytes(spoiled)

    def forged(self, message):
        """Returns the event with its id but a changed signature or content."""
        found = (SIGNATURE if self.random.random() < 0.5 else CONTENT).search(message)
        if found is None or not found.group(1):
            return message
        position = self.random.randrange(*found.span(1))
        other = b"0" if message[position : position + 1] != b"0" else b"1"
        return message[:position] + other + message[position + 1 :]

    # Senseless messages

    async def be_absurd(self):
        makers = [
            self.invalid_json,
            self.unknown_type,
            self.huge_notice,
            self.other_kind,
            self.wrong_signature,
            self.replay,
            self.reflection,
            self.deep_json,
            self.stray_answer,
            self.challenge,
        ]
        await asyncio.gather(self.say_absurdities(makers), self.close_subscriptions())

    async def say_absurdities(self, makers):
        while True:
            await self.next_time("absurd")
            maker = self.random.choice(makers)
            message = maker()
            if message is None:
                continue
            self.chaos.counts["absurd"] += 1
            self.chaos.counts["absurd " + maker.__name__] += 1
            # Some go to the relay, but nothing that it would take for an action of the client.
            is_for_relay = maker in (self.invalid_json, self.unknown_type, self.deep_json) and self.random.random() < 0.3
            (self.up if is_for_relay else self.down).put(message)

    async def close_subscriptions(self):
        while True:
            await self.next_time("closed")
            if not self.live:
                continue
            name = self.random.choice(sorted(self.live))
            reason = self.random.choice(("", "error: shutting down idle subscription", "rate-limited: slow", "nonsense"))
            self.chaos.counts["closed"] += 1
            self.down.put(b'["CLOSED",' + name + b"," + json.dumps(reason).encode() + b"]")

    def invalid_json(self):
        return self.random.choice((b"", b"{", b"[", b'["EVENT"', b"null", b"\x00\xff\xfe", b'["OK",1e999,true]', b'"', b"[]"))

    def unknown_type(self):
        return self.random.choice((b'["HELLO",{}]', b'["COUNT","nws1",{"count":5}]', b"[7]", b'["NEG-MSG","a","00"]'))

    def huge_notice(self):
        text = self.random.choice(("x", "\u2603", "REQ ", "\n")) * HUGE
        return json.dumps(["NOTICE", text[:HUGE]]).encode()

    def deep_json(self):
        return self.random.choice((b"[" * DEEP, b"[" * DEEP + b"]" * DEEP, b'["EVENT","nws1",' + b'{"a":' * DEEP))

    def stray_answer(self):
        event_id = self.random.randbytes(32).hex()
        return json.dumps(["OK", event_id, self.random.random() < 0.5, "invalid: nobody asked"]).encode()

    def challenge(self):
        return json.dumps(["AUTH", self.random.randbytes(8).hex()]).encode()

    def other_kind(self):
        if not self.live:
            return None
        event = {
            "id": self.random.randbytes(32).hex(),
            "pubkey": self.random.randbytes(32).hex(),
            "created_at": self.random.randrange(1 << 34),
            "kind": self.random.choice((0, 1, 7, 1059, 10002, 28333, 38333, 65535)),
            "tags": [["p", self.random.randbytes(32).hex()]] * self.random.randrange(3),
            "content": self.random.choice(("", "hello", "\u0000", "A" * 1000)),
            "sig": self.random.randbytes(64).hex(),
        }
        name = self.random.choice(sorted(self.live))
        return EVENT + name + b"," + json.dumps(event).encode() + b"]"

    def wrong_signature(self):
        return self.forged(self.random.choice(self.delivered)) if self.delivered else None

    def replay(self):
        return self.random.choice(self.delivered) if self.delivered else None

    def reflection(self):
        """Returns an event that the client itself published."""
        if not self.sent or not self.live:
            return None
        name = self.random.choice(sorted(self.live))
        return EVENT + name + b"," + self.random.choice(self.sent)[len(EVENT) :]

    # Disconnects

    async def end_suddenly(self):
        await self.next_time("disconnect")
        way = self.random.choice(("abrupt", "torn", "code"))
        self.chaos.counts["disconnect"] += 1
        self.chaos.counts["disconnect " + way] += 1
        if way == "abrupt":
            self.client.transport.abort()
        elif way == "torn":
            # A frame that is shorter than its length field says.
            self.client.transport.write(b"\x81\x7f" + (100_000).to_bytes(8, "big") + EVENT)
            self.client.transport.close()
        else:
            await self.client.close(self.random.choice(CLOSE_CODES), "injected by the chaos relay")


class Chaos:
    """The proxy: its settings, its counters and its connections."""

    def __init__(self, upstream, rates, seed, bytes_per_second, longest_delay):
        self.upstream = upstream
        self.rates = rates
        self.seed = seed
        self.bytes_per_second = bytes_per_second
        self.longest_delay = longest_delay
        self.intensity = 1.0
        self.counts = collections.Counter()
        address = urllib.parse.urlsplit(upstream)
        self.host, self.port = address.hostname, address.port or 80

    async def serve_client(self, client):
        self.counts["connections"] += 1
        generator = random.Random(f"{self.seed}/{self.counts['connections']}")
        try:
            async with connect(self.upstream, open_timeout=10, close_timeout=1, **OPTIONS) as relay:
                await Connection(self, client, relay, generator).run()
        except (WebSocketException, OSError, asyncio.TimeoutError):
            pass
        # Unless the connection was already closed in another way, end it as a killed relay would.
        client.transport.abort()

    async def process_request(self, connection, request):
        """Answers plain HTTP requests; rejects WebSockets while the relay is not reachable."""
        address = urllib.parse.urlsplit(request.path)
        if address.path == "/chaos":
            query = urllib.parse.parse_qs(address.query)
            self.intensity = float(query.get("intensity", [self.intensity])[0])
            return connection.respond(200, json.dumps(self.counts))
        try:
            if "Upgrade" not in request.headers:
                return self.document(connection, await asyncio.wait_for(self.fetch_document(), 5))
            _, writer = await asyncio.wait_for(asyncio.open_connection(self.host, self.port), 5)
            writer.close()
        except (OSError, asyncio.TimeoutError):
            return connection.respond(502, "the relay is not reachable\n")
        return None

    @staticmethod
    def document(connection, body):
        response = connection.respond(200, body)
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "application/nostr+json"
        return response

    async def fetch_document(self):
        """Returns the relay's information document (NIP-11)."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(
                f"GET / HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nAccept: application/nostr+json\r\n"
                "Connection: close\r\n\r\n".encode()
            )
            answer = await reader.read()
        finally:
            writer.close()
        return answer.partition(b"\r\n\r\n")[2].decode("utf-8", "replace")


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("upstream", help="URL of the relay (ws://…)")
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--bytes-per-second", type=int, default=2_000_000)
    parser.add_argument("--longest-delay", type=float, default=0.5, help="longest delay in seconds (default: 0.5)")
    for field in dataclasses.fields(Rates):
        parser.add_argument("--" + field.name, type=float, default=field.default)
    options = parser.parse_args()
    rates = Rates(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Rates)})
    chaos = Chaos(options.upstream, rates, options.seed, options.bytes_per_second, options.longest_delay)
    host, port = options.listen.rsplit(":", 1)
    async with serve(
        chaos.serve_client, host, int(port), process_request=chaos.process_request, close_timeout=1, **OPTIONS
    ) as server:
        host, port = server.sockets[0].getsockname()[:2]
        print(f"relay: ws://{host}:{port}", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
