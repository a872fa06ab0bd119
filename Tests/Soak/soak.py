# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Runs many random streams through faulty relays, while processes are killed, frozen and restarted.

Every stream must either carry all of its bytes intact or report a failure to its client. A stream must not break unless
the exit or the entry was killed while it was open. In the end the processes must have released their resources.

The test has three parts:
1. load while processes are killed;
2. load without kills (warm-up), after which traffic stops and the processes are measured;
3. load without kills (the window), after which they are measured again.
"""

import argparse
import asyncio
import collections
import dataclasses
import json
import pathlib
import random
import shutil
import signal
import socket
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "EndToEnd"))

from clients import ECHO, NOBODY, SENDER, SINK, Client, Plan, Stream
from nodes import Node
from sandbox import BINARY
from services import Services

PATIENCE = 60
"""Seconds for which a session survives the loss of all its relays (--session-timeout)."""
HANG = 120
"""Seconds for which a client waits for data before its stream counts as hanging. Services wait PATIENCE longer."""
DRAIN = 240
"""Seconds within which all streams must end once no new ones are started."""
SETTLE = 125
"""Seconds between the end of traffic and a measurement, because idle sessions end after one or two minutes."""
RECOVERY = 10
"""Seconds after the restart of an exit or entry during which requests may still be refused because of it."""
MOST_REFUSED = 0.05
"""Fraction of streams that may be refused without such a restart, for example because all relays reject at once."""
MORE_DESCRIPTORS, MORE_THREADS = 8, 2
MORE_MEMORY, MORE_MEMORY_SHARE = 32 << 20, 0.25
"""Allowed growth of a process during the window; for memory the larger of the two values."""


@dataclasses.dataclass
class Trouble:
    """A kill or freeze of a process."""

    node: str
    role: str
    what: str
    at: float
    over: float = float("inf")
    """The time at which the process was ready again."""

    def overlaps(self, start, end, recovery=0.0):
        return self.at <= end and self.over + recovery >= start


class Soak:
    def __init__(self, options, folder):
        self.options = options
        self.folder = folder
        self.random = random.Random(f"{options.seed}/troubles")
        self.task = asyncio.current_task()
        self.begun = time.monotonic()
        self.services = Services(options.seed, PATIENCE + HANG, self.stream_violation)
        self.relays, self.proxies = [], []
        self.exit = self.entry = None
        self.troubles = []
        self.violations = []
        self.counts = collections.Counter()
        self.refusals = collections.Counter()
        self.chaos = collections.Counter()
        self.bytes = collections.Counter()
        self.durations = []
        self.round_trips = collections.Counter()
        self.number = 0
        self.active = {}
        self.recent = {}
        self.before, self.after = {}, {}

    # Reporting

    def say(self, text):
        print(f"{time.monotonic() - self.begun:7.1f} s  {text}", flush=True)

    def violation(self, text, shows_logs=True):
        """Records and prints a violation, at first with the end of the logs of entry and exit."""
        self.violations.append(text)
        self.say(f"VIOLATION (seed {self.options.seed}): {text}")
        if shows_logs and len(self.violations) <= 10:
            for node in (self.entry, self.exit):
                if node:
                    print(f"--- end of the log of {node.name}\n{node.tail(12)}", flush=True)

    def stream_violation(self, number, text):
        stream = self.active.get(number) or self.recent.get(number)
        self.violation(f"{stream or f'stream {number}'}: {text}")

    def died(self, node, status):
        self.violation(f"{node.name} exited unexpectedly with status {status}:\n{node.tail(30)}", shows_logs=False)
        self.task.cancel()

    # Processes

    def node(self, name, *arguments, ready):
        return Node(name, arguments, ready, self.folder, self.died)

    async def start(self):
        options = self.options
        await self.services.start()
        for index in range(options.relays):
            relay = self.node(
                f"relay-{index + 1}", BINARY, "relay", "--listen", f"127.0.0.1:{free_port()}",
                "--admin", f"127.0.0.1:{free_port()}", ready=("relay", "admin"),
            )
            self.relays.append(relay)
            await relay.start()
            proxy = self.node(
                f"chaos-{index + 1}", sys.executable, HERE / "chaos_relay.py", relay.values["relay"],
                "--seed", f"{options.seed}/{index}", "--listen", f"127.0.0.1:{free_port()}", *options.chaos,
                ready=("relay",),
            )
            self.proxies.append(proxy)
            await proxy.start()
        common = ["--protocol", "session", "--session-timeout", PATIENCE, "--log-level", options.log_level]
        paths = [argument for proxy in self.proxies for argument in ("--relay", proxy.values["relay"])]
        services = {ECHO: "echo", SENDER: "sender", SINK: "sink"}
        targets = [f"{port}=127.0.0.1:{self.services.ports[name]}" for port, name in services.items()]
        self.exit = self.node(
            "exit", BINARY, "exit", *paths, "--key-file", self.folder / "exit.key", *common,
            "--admin", f"127.0.0.1:{free_port()}",
            *(argument for target in (*targets, f"{NOBODY}=127.0.0.1:{free_port()}") for argument in ("--service", target)),
            ready=("nprofile", "admin"),
        )
        await self.exit.start()
        self.entry = self.node(
            "entry", BINARY, "entry", "--allow-local-relays", "--listen", f"127.0.0.1:{free_port()}", *common,
            "--admin", f"127.0.0.1:{free_port()}", ready=("socks", "admin"),
        )
        await self.entry.start()
        host, port = self.entry.values["socks"].rsplit(":", 1)
        self.address = (host, int(port))
        self.host = self.exit.values["name"]

    @property
    def nodes(self):
        return [node for node in (*self.relays, *self.proxies, self.exit, self.entry) if node]

    async def stop(self):
        for node in reversed(self.nodes):
            await node.kill()
        self.services.close()

    # Load

    async def load(self, until):
        """Keeps `--streams` streams running until the given time, then waits until all have ended."""
        workers = [asyncio.create_task(self.work(until)) for _ in range(self.options.streams)]
        try:
            done, _ = await asyncio.wait(workers, timeout=max(0, until - time.monotonic()) + DRAIN)
            for stream in self.active.values():
                stream.ended = time.monotonic()
                self.counts["wrong"] += 1
                self.violation(f"{stream}: still open {DRAIN} s after the end of traffic")
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        for worker in done:
            worker.result()
        deadline = time.monotonic() + DRAIN
        while self.services.open and time.monotonic() < deadline:
            await asyncio.sleep(0.5)
        if self.services.open:
            self.violation(f"{len(self.services.open)} service connections open {DRAIN} s after their streams ended")

    async def work(self, until):
        await asyncio.sleep(2 * random.random())
        while time.monotonic() < until:
            self.number += 1
            stream = Stream(Plan.make(self.options.seed, self.number), time.monotonic())
            self.active[self.number] = stream
            try:
                client = Client(self.options.seed, stream, self.address, self.host, HANG)
                await client.run()
            finally:
                del self.active[stream.plan.number]
                self.recent[stream.plan.number] = stream
            self.judge(stream, stream.detail)
            await asyncio.sleep(1 if stream.outcome == "refused" else 0.3 * random.random())

    # Checking outcomes

    def deaths(self, *roles):
        return [trouble for trouble in self.troubles if trouble.what == "killed" and trouble.role in roles]

    def excuse(self, stream):
        """Returns the reason why a stream or visit may have broken, or None if there is none."""
        for death in self.deaths("exit", "entry"):
            if death.overlaps(stream.started, stream.ended):
                return death.node
        for trouble in self.troubles:
            if trouble.role == "all relays" and trouble.over - trouble.at > PATIENCE:
                if trouble.overlaps(stream.started, stream.ended):
                    return trouble.role
        return None

    def judge(self, stream, detail):
        """Counts the outcome of a stream, and records a violation if it is not allowed."""
        outcome = stream.outcome
        is_ended_by_service = "reset" in stream.plan.head
        self.bytes["sent"] += stream.sent
        self.bytes["received"] += stream.received
        self.counts["started"] += 1
        if outcome == "broken" and is_ended_by_service and self.was_ended_by_service(stream.plan.number):
            outcome = "planned"
        elif outcome == "short" and any(death.overlaps(stream.started, stream.ended) for death in self.deaths("entry")):
            # The kernel closes the connections of a killed entry cleanly, so this is the same as a broken stream.
            outcome = "broken"
        elif outcome == "short":
            outcome = "wrong"
        elif outcome == "complete" and is_ended_by_service:
            outcome, detail = "wrong", "complete although the service reset it"
        self.counts[outcome] += 1
        if outcome == "wrong":
            self.violation(f"{stream}: {detail}")
        elif outcome == "broken" and self.excuse(stream) is None:
            self.counts["broken without a reason"] += 1
            self.violation(f"{stream}: broken ({detail}) although neither exit nor entry was killed")
        elif outcome == "refused":
            self.refusals[detail] += 1
            if not any(death.overlaps(stream.started, stream.ended, RECOVERY) for death in self.deaths("exit", "entry")):
                self.counts["refused without a death"] += 1
                self.say(f"{stream}: refused ({detail})")
        elif outcome in ("complete", "planned") and stream.opened:
            self.durations.append(stream.opened - stream.started)
        # Streams are kept until the end of the test, so free the generator.
        stream.plan.generator = None

    def was_ended_by_service(self, number):
        return any(visit.outcome in ("planned", "reset") for visit in self.services.visits.get(number, ()))

    def judge_services(self):
        """Checks the outcomes that the services saw, after all streams have ended."""
        for number, visits in sorted(self.services.visits.items()):
            stream = self.recent.get(number)
            for visit in visits:
                self.counts[f"{visit.service} {visit.outcome}"] += 1
                if visit.outcome == "short" and not any(
                    death.overlaps(visit.started, visit.ended) for death in self.deaths("exit")
                ):
                    self.violation(
                        f"{stream or 'a stream without a first line'}: service {visit.service} saw a clean end too"
                        f" early ({visit.detail})", False,
                    )
                # A client does not wait until its last bytes arrive, so the connection may outlive its stream.
                if visit.outcome == "reset" and stream and stream.outcome == "complete" and not self.excuse(visit):
                    self.violation(
                        f"{stream}: complete for the client but reset for service {visit.service}, which received"
                        f" {visit.received} bytes and ended {visit.ended - stream.ended:.1f} s later ({visit.detail})",
                        False,
                    )
            if number >= 0 and len(visits) > 1:
                if not any(death.overlaps(visits[0].started, visits[-1].ended) for death in self.deaths("exit", "entry")):
                    self.violation(f"{stream}: reached its service {len(visits)} times", False)

    # Kills and freezes

    async def trouble(self, until):
        """Kills and freezes processes at random until the given time; all of them are running afterwards."""
        while True:
            await asyncio.sleep(self.random.uniform(*self.options.every))
            if time.monotonic() >= until - 10:
                return
            what = self.random.choices(("relay", "relays", "exit", "entry", "freeze"), (40, 8, 16, 16, 20))[0]
            if what == "freeze":
                await self.freeze(self.random.choice((*self.relays, self.exit, self.entry)), self.random.uniform(0.5, 8))
            elif what == "relay":
                await self.restart([self.random.choice(self.relays)], self.random.uniform(0.1, 8))
            elif what == "relays":
                blackout = Trouble("all relays", "all relays", "killed", time.monotonic())
                self.troubles.append(blackout)
                await self.restart(self.relays, self.random.uniform(0.5, 10))
                blackout.over = time.monotonic()
            else:
                await self.restart([self.exit if what == "exit" else self.entry], self.random.uniform(0.1, 4))

    async def restart(self, nodes, seconds):
        troubles = [Trouble(node.name, node.role, "killed", time.monotonic()) for node in nodes]
        self.troubles += troubles
        self.say(f"{', '.join(node.name for node in nodes)} killed for {seconds:.1f} s")
        for node in nodes:
            await node.kill()
        await asyncio.sleep(seconds)
        for node, trouble in zip(nodes, troubles):
            await node.start()
            trouble.over = time.monotonic()

    async def freeze(self, node, seconds):
        trouble = Trouble(node.name, node.role, "frozen", time.monotonic())
        self.troubles.append(trouble)
        self.say(f"{node.name} frozen for {seconds:.1f} s")
        node.send(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            node.send(signal.SIGCONT)
        trouble.over = time.monotonic()

    # Measuring

    async def measure(self):
        """Waits until the processes are idle; returns the resources that each of them uses."""
        await asyncio.sleep(self.options.settle)
        usage = {}
        for node in (*self.relays, self.exit, self.entry):
            usage[node.name] = node.usage()
            if usage[node.name] is None:
                continue
            report = await node.ask("/status.json")
            usage[node.name]["streams"] = report["streams"]
            usage[node.name]["sessions"] = len(report["sessions"]) + report["moreSessions"]
        return usage

    def compare(self):
        for name, after in self.after.items():
            before = self.before.get(name)
            if after is None or before is None:
                continue
            if after["pid"] != before["pid"]:
                self.violation(f"{name} was restarted during the window", False)
                continue
            bounds = {
                "descriptors": before["descriptors"] + MORE_DESCRIPTORS,
                "threads": before["threads"] + MORE_THREADS,
                "memory": before["memory"] + max(MORE_MEMORY, int(before["memory"] * MORE_MEMORY_SHARE)),
                "streams": 0,
            }
            for what, most in bounds.items():
                if after[what] > most:
                    self.violation(f"{name} has {after[what]} {what} after the window, {before[what]} before it", False)

    async def watch(self):
        """Records the longest round trip that exit and entry report; it determines how long retransmissions wait."""
        while True:
            await asyncio.sleep(2)
            for node in (self.exit, self.entry):
                try:
                    report = await node.ask("/status.json")
                except (OSError, ValueError):
                    continue
                for relay in report["relays"]:
                    self.round_trips[node.name] = max(self.round_trips[node.name], (relay.get("roundTrip") or 0) / 1_000)

    async def collect_chaos(self):
        for proxy in self.proxies:
            if proxy.pid:
                self.chaos.update(await proxy.ask("/chaos", proxy.values["relay"].replace("ws:", "http:")))

    # The whole test

    async def run(self):
        seconds = self.options.minutes * 60
        warm_up = min(60, seconds * 0.15)
        killing = seconds * 0.55
        self.say(f"seed {self.options.seed}, logs in {self.folder}")
        await self.start()
        watch = asyncio.create_task(self.watch())
        self.say(f"{killing:.0f} s of load with kills")
        until = time.monotonic() + killing
        troubles = asyncio.create_task(self.trouble(until))
        try:
            await self.load(until)
            await troubles
            self.progress()
            self.say(f"{warm_up:.0f} s of load without kills (warm-up)")
            await self.load(time.monotonic() + warm_up)
            self.progress()
            self.before = await self.measure()
            self.say(f"measured; {seconds - killing - warm_up:.0f} s of load without kills (the window)")
            await self.load(time.monotonic() + seconds - killing - warm_up)
            self.progress()
            self.after = await self.measure()
        finally:
            for task in (watch, troubles):
                task.cancel()
            await asyncio.gather(watch, troubles, return_exceptions=True)
        self.judge_services()
        self.compare()
        refused = self.counts["refused without a death"]
        if refused > MOST_REFUSED * self.counts["started"]:
            self.violation(
                f"{refused} of {self.counts['started']} streams refused although neither exit nor entry was killed",
                False,
            )
        if not self.counts["complete"]:
            self.violation("no stream was complete", False)

    def progress(self):
        self.say(", ".join(f"{self.counts[key]} {key}" for key in ("started", "complete", "planned", "refused", "broken")))

    def summary(self):
        troubles = collections.Counter(f"{trouble.node} {trouble.what}" for trouble in self.troubles)
        durations = sorted(self.durations) or [0.0]
        return {
            "seed": self.options.seed,
            "minutes": self.options.minutes,
            "relays": self.options.relays,
            "concurrent": self.options.streams,
            "streams": dict(sorted(self.counts.items())),
            "refusals": dict(self.refusals),
            "opening_seconds": {
                "median": round(durations[len(durations) // 2], 3),
                "percentile_99": round(durations[len(durations) * 99 // 100], 3),
                "longest": round(durations[-1], 3),
            },
            "longest_round_trip_seconds": {name: round(seconds, 3) for name, seconds in self.round_trips.items()},
            "bytes": dict(self.bytes),
            "troubles": dict(sorted(troubles.items())),
            "chaos": dict(sorted(self.chaos.items())),
            "before": self.before,
            "after": self.after,
            "tolerances": {
                "descriptors": MORE_DESCRIPTORS,
                "threads": MORE_THREADS,
                "memory": MORE_MEMORY,
                "memory_share": MORE_MEMORY_SHARE,
                "refused_share": MOST_REFUSED,
            },
            "violations": self.violations,
        }


def free_port():
    """Returns a port below the ephemeral range, so that no connection takes it while its process is restarted."""
    while True:
        with socket.socket() as listener:
            port = random.randrange(20_000, 32_000)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def print_table(summary):
    def section(title, values):
        print(f"\n{title}")
        for key, value in values.items():
            print(f"  {key:<28} {value:>14,}" if isinstance(value, int) else f"  {key:<28} {value:>14}")

    for title in ("streams", "refusals", "opening_seconds", "longest_round_trip_seconds", "bytes", "troubles", "chaos"):
        section(title, summary[title])
    print(
        f"\nprocesses before and after the window (may grow by {MORE_DESCRIPTORS} descriptors, {MORE_THREADS} threads"
        f" and the larger of {MORE_MEMORY >> 20} MiB and {MORE_MEMORY_SHARE:.0%} of memory; no open streams)"
    )
    print(f"  {'':<10} {'descriptors':>16} {'threads':>12} {'MiB':>16} {'streams':>10} {'sessions':>10}")
    for name, after in summary["after"].items():
        before = summary["before"].get(name)
        if not before or not after:
            print(f"  {name:<10} not measured on this system")
            continue

        def pair(key, unit=1):
            return f"{before[key] / unit:.4g} → {after[key] / unit:.4g}"

        print(
            f"  {name:<10} {pair('descriptors'):>16} {pair('threads'):>12} {pair('memory', 1 << 20):>16}"
            f" {pair('streams'):>10} {pair('sessions'):>10}"
        )


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Options after -- go to the faulty relays: -- --drop 0.1 --disconnect 0 (see chaos_relay.py --help).",
    )
    parser.add_argument("--minutes", type=float, default=5, help="total minutes of load (default: 5)")
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(1 << 32), help="random seed (default: a random one)"
    )
    parser.add_argument("--streams", type=int, default=50, help="number of concurrent streams (default: 50)")
    parser.add_argument("--relays", type=int, default=3, choices=range(1, 5), help="number of relays (default: 3)")
    parser.add_argument(
        "--every",
        type=float,
        nargs=2,
        default=(3, 12),
        metavar=("LEAST", "MOST"),
        help="seconds between kills or freezes (default: 3 12)",
    )
    parser.add_argument(
        "--settle", type=float, default=SETTLE, help=f"seconds to wait before a measurement (default: {SETTLE})"
    )
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="file to write the summary to, as JSON")
    parser.add_argument("--log-level", default="info", help="log level of exit and entry (default: info)")
    parser.add_argument("--keep", action="store_true", help="keep the folder with the logs even without violations")
    arguments = sys.argv[1:]
    split = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:split])
    options.chaos = arguments[split + 1 :]
    return options


async def main(options, folder):
    soak = Soak(options, folder)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, soak.task.cancel)
    try:
        await soak.run()
    except asyncio.CancelledError:
        soak.violation("the test was interrupted", False)
    except Exception as error:
        soak.violation(f"{type(error).__name__}: {error}", False)
    finally:
        try:
            await soak.collect_chaos()
        finally:
            await soak.stop()
    return soak.summary()


if __name__ == "__main__":
    options = parse()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="nws-soak-"))
    summary = asyncio.run(main(options, folder))
    print_table(summary)
    if options.json:
        options.json.write_text(json.dumps(summary, indent=2) + "\n")
    violations = summary["violations"]
    print(f"\n{len(violations)} violations, seed {options.seed}" + "".join(f"\n- {text}" for text in violations))
    if violations or options.keep:
        print(f"logs: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(1 if violations else 0)
