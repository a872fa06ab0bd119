# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Runs functions with the client of nostr-sdk, connected to a relay."""

import asyncio
import datetime

from nostr_sdk import Client, EventBuilder, Kind, RelayUrl, ReqTarget, Tag


def with_sdk_client(url, work):
    """Runs the asynchronous function `work`; its arguments are functions to publish and to fetch events."""

    async def run():
        client = Client()
        await client.add_relay(RelayUrl.parse(url))
        await client.connect(and_wait=datetime.timedelta(seconds=20))

        async def publish(keys, kind, text, *tags):
            builder = EventBuilder(Kind(kind), text).tags([Tag.parse(tag) for tag in tags])
            output = await client.send_event(builder.finalize(keys))
            assert len(output.success) == 1, output
            return output.id

        async def fetch(query):
            events = await client.fetch_events(ReqTarget.auto([query]), timeout=datetime.timedelta(seconds=20))
            return [event.content() for event in events]

        try:
            await work(publish, fetch)
        finally:
            await client.shutdown()

    asyncio.run(run())
