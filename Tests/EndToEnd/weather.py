# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""A proxy in front of a relay that makes it behave worse. Prints `relay: ws://…` and runs until it is killed.

`--drop 0.2`   accepts this fraction of events without forwarding them
`--batch`      delivers events in batches every 100 ms, sorted by date and id, as a default strfry does
`--admit KEY`  accepts only events of this author or from clients that authenticate with this key (NIP-42); rejects
               others with `auth-required:`, and authentication with another key with `restricted:`
`--record FILE` appends each event that a client publishes, one line of JSON each
"""

import argparse
import asyncio
import json
import random
import re

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

OPTIONS = {"compression": None, "max_size": None, "ping_interval": None}
EVENT_ID = re.compile(r'"id":"([0-9a-f]{64})"')
CREATED_AT = re.compile(r'"created_at":(\d+)')
BATCH = 0.1


class Weather:
    def __init__(self, upstream, drop, batch, admit, record):
        self.upstream = upstream
        self.admit = admit
        self.drop = drop
        self.batch = batch
        self.record = open(record, "a", buffering=1) if record else None
        self.random = random.Random(7)

    async def serve_client(self, client):
        try:
            async with connect(self.upstream, **OPTIONS) as relay:
                await asyncio.gather(self.to_relay(client, relay), self.to_client(client, relay))
        except (ConnectionClosed, OSError):
            pass
        await client.close()

    async def to_relay(self, client, relay):
        is_admitted = False
        if self.admit:
            await client.send(json.dumps(["AUTH", "challenge"]))
        async for message in client:
            if self.admit and message.startswith('["AUTH",'):
                event = json.loads(message)[1]
                is_admitted = event["pubkey"] == self.admit
                await client.send(json.dumps(["OK", event["id"], is_admitted, "" if is_admitted else "restricted: no"]))
            elif self.admit and not is_admitted and message.startswith('["EVENT",') and self.author(message) != self.admit:
                event_id = EVENT_ID.search(message).group(1)
                await client.send(json.dumps(["OK", event_id, False, "auth-required: members only"]))
            elif message.startswith('["EVENT",') and self.random.random() < self.drop:
                event_id = EVENT_ID.search(message).group(1)
                await client.send(json.dumps(["OK", event_id, True, ""]))
            else:
                if self.record and message.startswith('["EVENT",'):
                    self.record.write(json.dumps(json.loads(message)[1]) + "\n")
                await relay.send(message)
        await relay.close()

    async def to_client(self, client, relay):
        waiting = []
        flush = asyncio.create_task(self.flush_batches(client, waiting)) if self.batch else None
        try:
            async for message in relay:
                if flush and message.startswith('["EVENT",'):
                    waiting.append(message)
                else:
                    await client.send(message)
        finally:
            if flush:
                flush.cancel()
            await client.close()

    async def flush_batches(self, client, waiting):
        while True:
            await asyncio.sleep(BATCH)
            batch = sorted(waiting, key=self.order)
            waiting.clear()
            for message in batch:
                await client.send(message)

    @staticmethod
    def author(message):
        return json.loads(message)[1]["pubkey"]

    @staticmethod
    def order(message):
        return int(CREATED_AT.search(message).group(1)), EVENT_ID.search(message).group(1)


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("upstream")
    parser.add_argument("--drop", type=float, default=0)
    parser.add_argument("--batch", action="store_true")
    parser.add_argument("--admit")
    parser.add_argument("--record")
    options = parser.parse_args()
    weather = Weather(options.upstream, options.drop, options.batch, options.admit, options.record)
    async with serve(weather.serve_client, "127.0.0.1", 0, **OPTIONS) as server:
        host, port = server.sockets[0].getsockname()[:2]
        print(f"relay: ws://{host}:{port}", flush=True)
        await server.serve_forever()


asyncio.run(main())
