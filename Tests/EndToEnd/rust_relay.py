# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Runs the LocalRelay of nostr-sdk on a free loopback port; prints `relay: ws://…` and runs until it is killed."""

import asyncio

from nostr_sdk import LocalRelayBuilder, RateLimit


async def main():
    limit = RateLimit(max_reqs=10_000, notes_per_minute=100_000_000)
    relay = LocalRelayBuilder().addr("127.0.0.1").rate_limit(limit).build()
    await relay.run()
    print(f"relay: {str(await relay.url()).rstrip('/')}", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
