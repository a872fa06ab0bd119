# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Scenarios of direct paths: between hosts behind NATs, beside TCP, and when the path is lost."""

import re
import statistics
import sys
import threading
import time
from datetime import datetime

from nats import MAPPED_PORT, NatNetwork
from programs import Nws, Way, serve

MB = 1_000_000
DIRECT = ("--direct", "trusted", "--log-level", "debug")
WITHIN = 10
"""Seconds to wait for a direct path."""


def nodes_on(network, at_exit=(), at_entry=(), relays=("relay",)):
    return Nws(network, relays, listed=True, at_exit=(*DIRECT, *at_exit), at_entry=(*DIRECT, *at_entry))


def mapped(network, host):
    """The options of a host to whose UDP port its gateway sends datagrams."""
    address = network.address(f"{host}nat")
    return ("--direct-port", MAPPED_PORT, "--direct-address", f"{address}:{MAPPED_PORT}")


def at(log, text):
    """The time of the first line of a log with a text, in seconds since 1970, and the line. None without such a line."""
    for line in log.read_text().splitlines():
        if text in line:
            stamp = re.match(r"\S+", line)[0]
            return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp(), line
    return None


def wait_for(log, text, seconds=WITHIN):
    end = time.time() + seconds
    while time.time() < end:
        if found := at(log, text):
            return found
        time.sleep(0.02)
    return None


def finding(exit, entry, wants_direct=True, shared=False):
    """Seconds from the session's start to the direct path, and milliseconds to the first byte."""

    def measure(options, pair):
        with NatNetwork(exit, entry, shared=shared) as network:
            serve(network)
            at_exit = mapped(network, "exit") if exit == "mapped" else ()
            at_entry = mapped(network, "entry") if entry == "mapped" else ()
            nodes = nodes_on(network, at_exit, at_entry)
            first = nodes.way.run("open", 1)[0]
            start = time.time() - first / 1e3
            found = wait_for(nodes.entry.log, "direct path found", WITHIN if wants_direct else 4)
            echo = statistics.median(nodes.way.run("echo", 5))
        result = {"first byte ms": first, "echo ms": echo, "direct": int(found is not None)}
        if found:
            result["direct s"] = found[0] - start
            if shared:
                result["in the LAN"] = int("192.168.1.2" in found[1])
        return result

    return measure


def bulk(loss):
    """A download and an upload at 100 Mbit/s and 40 ms, beside one TCP connection between the same hosts."""

    def measure(options, pair):
        link = f"delay=10,rate=100,loss={loss}"
        size = 60 * MB if not loss else 30 * MB
        with NatNetwork("open", "open", link=link, congestion=options.congestion or "bbr") as network:
            serve(network, size)
            tcp = Way(network, "-", network.address("exit"), (8080, 8081))
            nodes = nodes_on(network)
            nodes.way.run("open", 1)
            if not wait_for(nodes.entry.log, "direct path found"):
                raise RuntimeError("no direct path")
            result = {}
            for what, name in (("get", "down"), ("put", "up")):
                result[f"{name} MB/s"] = nodes.way.rate(what, size)
                result[f"{name} / TCP"] = result[f"{name} MB/s"] / tcp.rate(what, size)
            for name, way in (("echo ms", nodes.way), ("TCP echo ms", tcp)):
                result[name] = statistics.median(way.run("echo", 50))
            result["echo - TCP ms"] = result["echo ms"] - result["TCP echo ms"]
        return result

    return measure


def unlimited(options, pair):
    """A download and an upload between two hosts of one network without a limit: over the direct path and over a relay.
    Bytes per second, and CPU seconds per GB of all programs."""
    size = 200 * MB
    result = {}
    for way in ("relay", "direct") if pair % 2 else ("direct", "relay"):
        # The relay is on the gateway, so that nothing passes the router.
        with NatNetwork("restricted", "restricted", relays=(), shared=True) as network:
            serve(network, size)
            more = () if way == "direct" else ("--direct", "off")
            nodes = nodes_on(network, more, more, relays=("exitnat",))
            nodes.way.run("open", 1)
            if way == "direct" and not wait_for(nodes.entry.log, "direct path found"):
                raise RuntimeError("no direct path")
            for what, name in (("get", "down"), ("put", "up")):
                before = nodes.processor_seconds()
                result[f"{way} {name} MB/s"] = nodes.way.rate(what, size)
                result[f"{way} {name} CPU s/GB"] = (nodes.processor_seconds() - before) / size * 1e9
    for name in ("down", "up"):
        for unit in ("MB/s", "CPU s/GB"):
            result[f"{name} {unit}, direct / relay"] = result[f"direct {name} {unit}"] / result[f"relay {name} {unit}"]
    return result


def fair(options, pair):
    """The shares of a direct path and of one TCP connection that download over the same link at the same time."""
    seconds = 20
    link = "delay=10,rate=20"
    with NatNetwork("open", "open", link=link, congestion=options.congestion or "cubic") as network:
        serve(network, 50 * MB)
        tcp = Way(network, "-", network.address("exit"), (8080, 8081))
        nodes = nodes_on(network)
        nodes.way.run("open", 1)
        if not wait_for(nodes.entry.log, "direct path found"):
            raise RuntimeError("no direct path")
        both = [way.start("getfor", seconds) for way in ((tcp, nodes.way) if pair % 2 else (nodes.way, tcp))]
        rates = [Way.result(process) for process in both]
    direct, beside = reversed(rates) if pair % 2 else rates
    return {"direct share": direct / (direct + beside), "TCP share": beside / (direct + beside), "MB/s": sum(rates) / 1e6}


FLOOD = """
import os, socket, sys
target = (sys.argv[1], int(sys.argv[2]))
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
bodies = [bytes([0x40]) + os.urandom(size) for size in (30, 60, 1_200) for _ in range(100)]
sent = 0
while True:
    for body in bodies:
        out.sendto(body, target)
"""


def flood(options, pair):
    """A download while a stranger sends datagrams to the exit as fast as a process can, beside the same without that."""
    size = 60 * MB
    with NatNetwork("open", "open", link="delay=10,rate=100", congestion="bbr") as network:
        serve(network, size)
        nodes = nodes_on(network, at_exit=("--direct-port", "4433"))
        nodes.way.run("open", 1)
        if not wait_for(nodes.entry.log, "direct path found"):
            raise RuntimeError("no direct path")
        before = nodes.way.rate("get", size)
        memory = nodes.exit.memory()
        process = network.start("exit", sys.executable, "-c", FLOOD, network.address("exit"), "4433")
        during = nodes.way.rate("get", size)
        grown = nodes.exit.memory() - memory
        process.kill()
    return {"MB/s before": before, "during / before": during / before, "more memory MB": grown / 1e6}


def disturbed(disturb, exit="restricted", entry="restricted", size=60 * MB, link="delay=10,rate=50"):
    """The longest pause of a download while the direct path is lost or changes. `disturb` gets the network."""

    def measure(options, pair):
        with NatNetwork(exit, entry, link=link) as network:
            serve(network, size)
            nodes = nodes_on(network)
            nodes.way.run("open", 1)
            if not wait_for(nodes.entry.log, "direct path found"):
                raise RuntimeError("no direct path")
            is_over = threading.Event()
            disturbance = threading.Thread(target=disturb, args=(network, is_over))
            disturbance.start()
            try:
                result = nodes.way.run("get", size)
            finally:
                is_over.set()
                disturbance.join()
        if not result["is_right"]:
            raise RuntimeError("wrong bytes")
        return {"longest pause s": result["longest_pause"], "MB/s": size / result["seconds"] / 1e6}

    return measure


def cut(network, is_over):
    is_over.wait(2)
    network.set_rules("entry", "restricted", cut=True)


def cut_for_a_while(network, is_over):
    is_over.wait(2)
    network.set_rules("entry", "restricted", cut=True)
    is_over.wait(3)
    network.set_rules("entry", "restricted")


def rebind(network, is_over):
    start = 20_000
    while not is_over.wait(4):
        network.rebind("entry", f"{start}-{start + 99}")
        start += 100


def roam(network, is_over):
    """The entry's host gets another address, as when it changes from Wi-Fi to a mobile network."""
    for number in (9, 10):
        if is_over.wait(3):
            return
        network.tell(f"move entry {number}")


def idle(options, pair):
    """An echo after a pause over NATs that forget after 30 s."""
    with NatNetwork("restricted", "restricted") as network:
        serve(network)
        for host in ("exit", "entry"):
            network.set_lifetime(host, 30)
        nodes = nodes_on(network)
        nodes.way.run("open", 1)
        wait_for(nodes.entry.log, "direct path found")
        before = statistics.median(nodes.way.run("echo", 3))
        hold = nodes.way.start("hold", int(options.idle))
        time.sleep(int(options.idle))
        result = nodes.way.result(hold)
        lost = nodes.entry.log.read_text().count("direct path lost")
    return {"echo before ms": before, "echo after ms": result[0], "times lost": lost}


SCENARIOS = {
    "restricted": finding("restricted", "restricted"),
    "open": finding("open", "restricted"),
    "mapped": finding("mapped", "restricted"),
    "router": finding("router", "symmetric"),
    "symmetric-open": finding("open", "symmetric"),
    "ipv6": finding("firewall6", "firewall6"),
    "lan": finding("restricted", "restricted", shared=True),
    "symmetric-restricted": finding("restricted", "symmetric", wants_direct=False),
    "symmetric": finding("symmetric", "symmetric", wants_direct=False),
    "blocked": finding("restricted", "blocked", wants_direct=False),
    "bulk": bulk(0),
    "bulk-lossy": bulk(0.5),
    "unlimited": unlimited,
    "fair": fair,
    "flood": flood,
    "cut": disturbed(cut),
    "cut-back": disturbed(cut_for_a_while),
    "rebind": disturbed(rebind),
    "roam": disturbed(roam, exit="open", entry="open"),
    "roam-restricted": disturbed(roam, exit="restricted", entry="open"),
    "idle": idle,
}

FOUND = {"direct": (">=", 1), "direct s": ("<=", 2)}
TARGETS = {
    **{name: FOUND for name in ("restricted", "open", "mapped", "router", "symmetric-open", "ipv6")},
    "lan": {**FOUND, "in the LAN": (">=", 1)},
    "bulk": {"down / TCP": (">=", 0.95), "up / TCP": (">=", 0.95), "echo - TCP ms": ("<=", 0.5)},
    "bulk-lossy": {"down / TCP": (">=", 0.9), "up / TCP": (">=", 0.9)},
    "unlimited": {
        key: limit
        for name in ("down", "up")
        for key, limit in ((f"{name} MB/s, direct / relay", (">=", 1.5)), (f"{name} CPU s/GB, direct / relay", ("<=", 0.75)))
    },
    "fair": {"direct share": (">=", 0.3), "TCP share": (">=", 0.3)},
    "flood": {"during / before": (">=", 0.5), "more memory MB": ("<=", 20)},
    **{name: {"longest pause s": ("<=", 1)} for name in ("cut", "cut-back", "rebind", "roam", "roam-restricted")},
    "idle": {"times lost": ("<=", 0)},
}
