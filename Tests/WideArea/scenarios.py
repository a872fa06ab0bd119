# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""What is measured. Each scenario returns its figures; `TARGETS` has what they must reach."""

import statistics
import threading
import time

from network import Network
from programs import Nws, serve, ssh

MB = 1_000_000
HOME = {"relay": "delay=20", "exit": "delay=10,rate=100", "entry": "delay=10,rate=100"}
FAR = {"relay": "delay=50,loss=0.05", "exit": "delay=50,rate=100,loss=0.05", "entry": "delay=50,rate=100,loss=0.05"}
LOSSY = {"relay": "delay=10", "exit": "delay=5,rate=100", "entry": "delay=30,rate=30,loss=1,jitter=10"}
SLOW = {"relay": "delay=15", "exit": "delay=10,rate=5", "entry": "delay=10,rate=50"}
NEAR = {"relay": "delay=5", "exit": "delay=5,rate=100", "entry": "delay=5,rate=100"}


def median(values):
    return statistics.median(values)


def percentile(values, share):
    return sorted(values)[int(len(values) * share)]


def loaded(way, size):
    """Milliseconds of echoes during a download."""
    echoes = way.start("echofor", 10)
    time.sleep(1)
    end = time.time() + 8
    while time.time() < end:
        way.run("get", size)
    return way.result(echoes)


def figures(way, down, up):
    """MB/s and milliseconds of one way through the network."""
    echoes = way.run("echo", 30)
    result = {"echo": median(echoes), "open": median(way.run("open", 10))}
    result["down"] = way.rate("get", down)
    result["up"] = way.rate("put", up)
    under_load = loaded(way, down)
    result["loaded"], result["loaded99"] = median(under_load), percentile(under_load, 0.99)
    return result


def beside_ssh(hosts, down, up, family=4):
    """nws and ssh on one network, in alternating order. `family` is that of the relay's address in nws."""

    def measure(options, pair):
        with Network(hosts, congestion=options.congestion) as network:
            serve(network, down)
            ways = {"nws": Nws(network, tls=options.tls, family=family).way, "ssh": ssh(network)}
            for way in ways.values():
                way.run("get", 1_000)
            order = ("nws", "ssh") if pair % 2 == 0 else ("ssh", "nws")
            result = {name: figures(ways[name], down, up) for name in order}
        return {
            **{f"nws {key}": value for key, value in result["nws"].items()},
            **{f"ssh {key}": value for key, value in result["ssh"].items()},
            "down / ssh": result["nws"]["down"] / result["ssh"]["down"],
            "up / ssh": result["nws"]["up"] / result["ssh"]["up"],
            "loaded echo / ssh": result["nws"]["loaded"] / result["ssh"]["loaded"],
        }

    return measure


def beside_one(hosts, relays, down=30 * MB, up=10 * MB):
    """Several relays, and the first of them alone, on one network."""

    def measure(options, pair):
        results = {}
        names = {"all": relays, "one": relays[:1]}
        for name in ("all", "one") if pair % 2 == 0 else ("one", "all"):
            with Network(hosts, congestion=options.congestion) as network:
                serve(network, down)
                way = Nws(network, relays=names[name], tls=options.tls).way
                way.run("get", 1_000)
                results[name] = figures(way, down, up)
        several, one = results["all"], results["one"]
        return {
            **{f"all {key}": value for key, value in several.items()},
            **{f"one {key}": value for key, value in one.items()},
            "down / one": several["down"] / one["down"],
            "up / one": several["up"] / one["up"],
            "loaded echo / one": several["loaded"] / one["loaded"],
            "loaded p99 / one": several["loaded99"] / one["loaded99"],
        }

    return measure


def frozen(options, pair):
    """Three relays, one of which stops in mid-transfer without closing its connections."""
    hosts = {
        "relay": "delay=20", "relay2": "delay=25", "relay3": "delay=30", "exit": "delay=10,rate=50",
        "entry": "delay=10,rate=50",
    }  # fmt: skip
    relays = ("relay", "relay2", "relay3")
    with Network(hosts, congestion=options.congestion) as network:
        serve(network, 30 * MB)
        nodes = Nws(network, relays=relays, tls=options.tls)
        nodes.way.run("get", 1_000)
        transfer = nodes.way.start("get", 30 * MB)
        time.sleep(2)
        nodes.relays[relays[pair % 3]].freeze()
        result = nodes.way.result(transfer)
    if not result["is_right"]:
        raise RuntimeError("wrong bytes")
    return {"longest pause s": result["longest_pause"]}


def trips(options, pair):
    """Round trips from a command to the first byte, for a new session and for the next stream of one."""
    with Network(HOME, congestion=options.congestion) as network:
        serve(network)
        nodes = Nws(network, tls=options.tls)
        first = nodes.way.run("open", 1)[0]
        echo = median(nodes.way.run("echo", 20))
        following = median(nodes.way.run("open", 10))
        nodes.restart_entry()
        again = nodes.way.run("open", 1)[0]
    return {
        "echo ms": echo,
        "new session / echo": first / echo,
        "returning session / echo": again / echo,
        "next stream / echo": following / echo,
    }


def known(options, pair):
    """Round trips to the first byte for a client that the exit knows: with its identity, with a ticket, and with a ticket
    while the relay is connected."""
    with Network(HOME, congestion=options.congestion) as network:
        serve(network)
        nodes = Nws(network, tls=options.tls, listed=True)
        first = nodes.way.run("open", 1)[0]
        echo = median(nodes.way.run("echo", 20))
        nodes.restart_entry()
        again = nodes.way.run("open", 1)[0]
        # The entry ends a session without streams after a minute.
        time.sleep(90)
        connected = nodes.way.run("open", 1)[0]
    return {
        "identity / echo": first / echo,
        "ticket / echo": again / echo,
        "ticket, relay connected / echo": connected / echo,
    }


def outage(event, gap, size=30 * MB):
    """Seconds from the return of the network to the next byte of a download. `event` begins and ends the outage."""

    def measure(options, pair):
        hosts = {**HOME, "exit": "delay=10,rate=50", "entry": "delay=10,rate=50"}
        with Network(hosts, congestion=options.congestion) as network:
            serve(network, size)
            way = Nws(network, tls=options.tls).way
            way.run("get", 1_000)
            results = []
            transfer = threading.Thread(target=lambda: results.append(way.run("get", size)))
            transfer.start()
            time.sleep(2)
            begin, finish = event(pair)
            network.tell(begin)
            time.sleep(gap)
            if finish:
                network.tell(finish)
            back = time.time()
            transfer.join()
        if not results or not results[0]["is_right"]:
            raise RuntimeError("the download failed")
        after = [at for at in results[0]["resumed"] if at >= back - gap]
        return {"first byte s": after[0] - back if after else 0, "pauses": len(results[0]["resumed"])}

    return measure


def side(pair):
    return ("entry", "exit")[pair % 2]


SCENARIOS = {
    "home": beside_ssh(HOME, 100 * MB, 30 * MB),
    "far": beside_ssh(FAR, 10 * MB, 10 * MB),
    "lossy": beside_ssh(LOSSY, 10 * MB, 10 * MB),
    "slow": beside_ssh(SLOW, 5 * MB, 1 * MB),
    "two": beside_one(
        {"relay": "delay=20,rate=30", "relay2": "delay=20,rate=30", "exit": "delay=10,rate=100",
         "entry": "delay=10,rate=100"}, ("relay", "relay2"),
    ),
    "uneven": beside_one({**NEAR, "relay2": "delay=150,rate=10"}, ("relay", "relay2")),
    "frozen": frozen,
    "trips": trips,
    "known": known,
    "dark5": outage(lambda pair: (f"down {side(pair)}", f"up {side(pair)}"), 5),
    "dark30": outage(lambda pair: (f"down {side(pair)}", f"up {side(pair)}"), 30),
    "dark100": outage(lambda pair: (f"down {side(pair)}", f"up {side(pair)}"), 100),
    "forget": outage(lambda pair: (f"forget {side(pair)}", None), 0),
    "move": outage(lambda pair: (f"move {side(pair)} 9", None), 0),
    "reorder": beside_ssh(
        {"relay": "delay=20", "exit": "delay=10,rate=50,reorder=2", "entry": "delay=10,rate=50,reorder=2"},
        10 * MB, 10 * MB,
    ),
    "ipv6": beside_ssh(
        {"relay": "delay=20", "exit": "delay=10,rate=50", "entry": "delay=10,rate=50"}, 10 * MB, 10 * MB, family=6,
    ),
    "mtu": beside_ssh(
        {"relay": "delay=20", "exit": "delay=10,rate=50,mtu=1280", "entry": "delay=10,rate=50,mtu=1280"},
        10 * MB, 10 * MB,
    ),
}  # fmt: skip

TARGETS = {
    "home": {"down / ssh": (">=", 0.95), "up / ssh": (">=", 0.95), "loaded echo / ssh": ("<=", 1)},
    "far": {"down / ssh": (">=", 0.95), "up / ssh": (">=", 0.95)},
    "lossy": {"down / ssh": (">=", 0.95), "up / ssh": (">=", 0.95)},
    "slow": {"down / ssh": (">=", 0.95), "up / ssh": (">=", 0.95), "loaded echo / ssh": ("<=", 0.4)},
    "two": {"down / one": (">=", 1.8), "up / one": (">=", 1.8)},
    "uneven": {
        "down / one": (">=", 0.95), "up / one": (">=", 0.95), "loaded echo / one": ("<=", 1.5),
        "loaded p99 / one": ("<=", 2),
    },
    "frozen": {"longest pause s": ("<=", 1)},
    "trips": {"new session / echo": ("<=", 4.2), "next stream / echo": ("<=", 1.1)},
    "known": {"ticket / echo": ("<=", 3.3), "ticket, relay connected / echo": ("<=", 2.3)},
    **{name: {"first byte s": ("<=", 2)} for name in ("dark5", "dark30", "dark100", "forget", "move")},
}  # fmt: skip

# With wss:// relays, a new connection takes a leg longer: half a round trip.
TLS_TARGETS = {
    **TARGETS,
    "trips": {"new session / echo": ("<=", 4.7), "next stream / echo": ("<=", 1.1)},
    "known": {"ticket / echo": ("<=", 3.8), "ticket, relay connected / echo": ("<=", 2.3)},
}
