# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Attacks a relay, an exit and an entry, one attack after the other, during a download through the tunnel.

Prints for each attack: actions per second, processor cores that the attacker used, throughput of the download, the same
during a process that only uses as much processor time, the ratio of the two, and the peak memory of each node.

Exits with 1 if the download keeps less than half of its throughput (a quarter with four attacks at once), or if a node
uses more than 512 MiB.
"""

import argparse
import base64
import json
import multiprocessing
import os
import pathlib
import socket
import struct
import sys
import tempfile
import time
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "EndToEnd"))

from nostr_sdk import Keys, Nip44Version, PublicKey, nip44_encrypt  # noqa: E402

from backends import HTTPBackend  # noqa: E402
from nostr_wire import session_offer, signed  # noqa: E402
from raw_socks import SUCCEEDED, SocksClient  # noqa: E402
from sandbox import Sandbox  # noqa: E402

LEAST_SHARE = 0.5
# The same for several attacks at once, on two cores.
LEAST_SHARE_TOGETHER = 0.25
MOST_MEMORY = 512 << 20
KIND = 28333


def address_of(url):
    host, port = url.removeprefix("ws://").rstrip("/").split(":")
    return host, int(port)


def websocket(url):
    """Returns a socket after the WebSocket handshake, on which any bytes can be sent."""
    connection = socket.create_connection(address_of(url), 20)
    key = base64.b64encode(os.urandom(16)).decode()
    connection.sendall(
        f"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(4096)
    assert head.startswith(b"HTTP/1.1 101"), head
    return connection


def frame(payload, opcode=1, fin=True):
    length = len(payload)
    extended = b"" if length < 126 else struct.pack(">H", length) if length < 65536 else struct.pack(">Q", length)
    code = length if length < 126 else 126 if length < 65536 else 127
    # A mask of zeros leaves the payload unchanged.
    return bytes([(0x80 if fin else 0) | opcode, 0x80 | code]) + extended + bytes(4) + payload


def flood(url, piece, count, done):
    """Sends `piece` repeatedly and discards all answers; reconnects when the relay closes the connection."""
    while True:
        try:
            connection = websocket(url)
            connection.setblocking(False)
            rest = memoryview(b"")
            while True:
                if not rest:
                    rest = memoryview(piece)
                    done.value += count
                try:
                    rest = rest[connection.send(rest) :]
                except BlockingIOError:
                    time.sleep(0.0005)
                try:
                    if connection.recv(1 << 16) == b"":
                        break
                except BlockingIOError:
                    pass
        except OSError:
            time.sleep(0.01)


def event_message(event):
    return frame(json.dumps(["EVENT", event], separators=(",", ":")).encode())


# Attacks. Each takes the nodes and a counter of its actions, and runs until it is killed.


class Burner:
    """Uses a given share of a core without attacking anything, as the reference for an attack."""

    __name__ = "burner"

    def __init__(self, cores):
        self.cores = cores

    def __call__(self, _, done):
        start, before = time.monotonic(), time.process_time()
        while True:
            done.value += 1
            if time.process_time() - before > self.cores * (time.monotonic() - start):
                time.sleep(0.01)


def slowloris(nodes, done):
    """Sends HTTP request heads one byte at a time, on 1,000 connections."""
    connections = []
    while True:
        while len(connections) < 1_000:
            connections.append(socket.create_connection(address_of(nodes["relay"]), 20))
            connections[-1].sendall(b"GET / HTTP/1.1\r\nX-")
        for index, connection in enumerate(connections):
            try:
                connection.sendall(b"a")
                done.value += 1
            except OSError:
                connections[index] = socket.create_connection(address_of(nodes["relay"]), 20)
        time.sleep(0.2)


def huge_frames(nodes, done):
    """Sends messages of 16 MiB."""
    flood(nodes["relay"], frame(bytes(16 << 20)), 1, done)


def tiny_frames(nodes, done):
    """Sends messages in fragments of one byte."""
    flood(nodes["relay"], frame(b"[", fin=False) + frame(b" ", 0, False) * 5_000 + frame(b"]", 0), 5_002, done)


def subscriptions(nodes, done):
    """Sends many REQs, each with another subscription id."""
    while True:
        pieces = [frame(json.dumps(["REQ", uuid.uuid4().hex, {"kinds": [KIND], "authors": [os.urandom(32).hex()]}]).encode()) for _ in range(500)]
        try:
            connection = websocket(nodes["relay"])
            connection.settimeout(5)
            connection.sendall(b"".join(pieces))
            done.value += len(pieces)
            while connection.recv(1 << 16):
                connection.settimeout(0.05)
        except OSError:
            pass


def deep_json(nodes, done):
    """Sends deeply nested JSON."""
    flood(nodes["relay"], frame(b'["EVENT",' + b"[" * 100_000), 1, done)


def wrong_signatures(nodes, done):
    """Sends events with valid ids and invalid signatures."""
    pieces = []
    for number in range(200):
        event = signed(Keys.generate(), KIND, str(number), [["p", nodes["exit"]]])
        pieces.append(event_message({**event, "sig": event["sig"][:-2] + ("00" if event["sig"][-2:] != "00" else "01")}))
    flood(nodes["relay"], b"".join(pieces), len(pieces), done)


def deaf(nodes, done):
    """Subscribes to the messages for the exit and never reads."""
    connections = []
    while True:
        connection = websocket(nodes["relay"])
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(frame(json.dumps(["REQ", "all", {"kinds": [KIND], "#p": [nodes["exit"]]}]).encode()))
        connections.append(connection)
        done.value += 1
        if len(connections) >= 50:
            connections.pop(0).close()
            time.sleep(0.05)


def never_matching(nodes, done):
    """Holds 1,600 subscriptions over 8 connections, renewed every 2 seconds, which the relay compares with events and which match none."""
    subscribe_often(nodes, done, {"kinds": [KIND, 1], "#p": [nodes["exit"]], "until": 1})


def always_matching(nodes, done):
    """Holds 1,600 subscriptions over 8 connections, renewed every 2 seconds, each of which gets every message for the exit."""
    subscribe_often(nodes, done, {"kinds": [KIND], "#p": [nodes["exit"]]})


def subscribe_often(nodes, done, condition):
    connections = [websocket(nodes["relay"]) for _ in range(8)]
    for connection in connections:
        connection.settimeout(0.2)
    while True:
        for number in range(200):
            for connection in connections:
                connection.sendall(frame(json.dumps(["REQ", f"s{number}", condition]).encode()))
        done.value += 1_600
        ends = time.monotonic() + 2
        while time.monotonic() < ends:
            for connection in connections:
                try:
                    connection.recv(1 << 20)
                    done.value += 1
                except TimeoutError:
                    pass


def queries(nodes, done):
    """Stores 5,000 notes, and asks for notes that do not exist over 8 connections."""
    keys = Keys.generate()
    connections = [websocket(nodes["relay"]) for _ in range(8)]
    for number in range(5_000):
        connections[0].sendall(event_message(signed(keys, 1, str(number), [["t", "x"]])))
    for connection in connections:
        connection.setblocking(False)
    request = frame(json.dumps(["REQ", "q", {"kinds": [1], "#t": ["none"]}]).encode())
    while True:
        for connection in connections:
            try:
                connection.send(request)
                connection.recv(1 << 20)
            except BlockingIOError:
                pass
        done.value += 8
        time.sleep(0.05)


def request(nodes, **members):
    """Returns a CONNECT message, encrypted and signed with a new key, because an exit ignores repeated ones."""
    keys = Keys.generate()
    text = json.dumps({"key": str(uuid.uuid4()), "type": "CONNECT", "destination": "x:80", **members})
    content = nip44_encrypt(keys.secret_key(), PublicKey.parse(nodes["exit"]), text, Nip44Version.V2)
    return event_message(signed(keys, KIND, content, [["p", nodes["exit"]]]))


def requests(nodes, done, **members):
    """Sends CONNECT messages."""
    connection = websocket(nodes["relay"])
    connection.setblocking(False)
    while True:
        rest = memoryview(request(nodes, **members))
        while rest:
            try:
                rest = rest[connection.send(rest) :]
            except BlockingIOError:
                time.sleep(0.0005)
        done.value += 1
        try:
            connection.recv(1 << 16)
        except BlockingIOError:
            pass


def connects(nodes, done):
    """Sends CONNECT messages of plain NIP-74."""
    requests(nodes, done)


def half_open(nodes, done):
    """Offers sessions and never answers their acceptance."""
    requests(nodes, done, nws=session_offer())


def prepared_offers(nodes, done):
    """Sends 600 offers a second that were made before, so that the attack costs little processor time itself."""
    offers = [request(nodes, nws=session_offer()) for _ in range(6_000)]
    connection = websocket(nodes["relay"])
    start = time.monotonic()
    for number, offer in enumerate(offers):
        time.sleep(max(0, start + number / 600 - time.monotonic()))
        connection.sendall(offer)
        connection.setblocking(False)
        try:
            connection.recv(1 << 16)
        except BlockingIOError:
            pass
        connection.setblocking(True)
        done.value += 1
    time.sleep(60)


def mute_socks(nodes, done):
    """Opens connections to the entry and sends nothing."""
    connections = []
    while True:
        try:
            connections.append(socket.create_connection(nodes["socks"], 5))
            done.value += 1
        except OSError:
            time.sleep(0.05)
        if len(connections) > 2_000:
            connections.pop(0).close()


ABUSES = [
    slowloris, huge_frames, tiny_frames, subscriptions, deep_json, wrong_signatures, deaf, connects, half_open,
    prepared_offers, mute_socks, never_matching, always_matching, queries,
]
# The four attacks that cost most on their own, run at once.
TOGETHER = [tiny_frames, wrong_signatures, half_open, subscriptions]


class Download:
    """An endless download through the tunnel, which a separate process reads."""

    def __init__(self, socks, host):
        self.received = multiprocessing.Value("Q", 0, lock=False)
        self.process = multiprocessing.Process(target=self._read, args=(socks, host, self.received), daemon=True)
        self.process.start()

    @staticmethod
    def _read(socks, host, received):
        client = SocksClient(socks, timeout=60)
        client.greet()
        assert client.request(host) == SUCCEEDED
        client.socket.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        buffer = bytearray(1 << 20)
        while count := client.socket.recv_into(buffer):
            received.value += count

    def rate(self, seconds):
        """Measures for `seconds`; returns bytes per second."""
        before, start = self.received.value, time.monotonic()
        time.sleep(seconds)
        return (self.received.value - before) / (time.monotonic() - start)


def resident(process):
    with open(f"/proc/{process.pid}/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS:"))


class Abuser:
    """A process that runs one attack."""

    def __init__(self, abuse, nodes):
        self.name = abuse.__name__
        self.done = multiprocessing.Value("Q", 0, lock=False)
        self.process = multiprocessing.Process(target=abuse, args=(nodes, self.done), daemon=True)
        self.process.start()

    def processor_time(self):
        """Processor time used so far, in seconds."""
        with open(f"/proc/{self.process.pid}/stat") as file:
            user, system = file.read().rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        lasted = self.process.is_alive()
        self.process.kill()
        self.process.join()
        assert lasted and self.done.value, f"{self.name} ended early or did nothing"


def beside(abuses, nodes, download, processes, seconds):
    """Runs attacks for `seconds` during the download.

    Returns actions per second of all attacks, bytes per second of the download, the peak memory of each node, and the
    cores used by each attack.
    """
    abusers = [Abuser(abuse, nodes) for abuse in abuses]
    deadline = time.monotonic() + 30
    while any(abuser.done.value == 0 and abuser.process.is_alive() for abuser in abusers) and time.monotonic() < deadline:
        time.sleep(0.05)
    before, most, rates = sum(abuser.done.value for abuser in abusers), [0] * len(processes), []
    start, took = time.monotonic(), [abuser.processor_time() for abuser in abusers]
    while time.monotonic() - start < seconds:
        rates.append(download.rate(0.5))
        most = [max(peak, resident(process)) for peak, process in zip(most, processes)]
    lasted = time.monotonic() - start
    rate = (sum(abuser.done.value for abuser in abusers) - before) / lasted
    cores = [(abuser.processor_time() - earlier) / lasted for abuser, earlier in zip(abusers, took)]
    for abuser in abusers:
        abuser.stop()
    return rate, sum(rates) / len(rates), most, cores


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8, help="duration of each attack in seconds (default: 8)")
    parser.add_argument(
        "--only",
        choices=[abuse.__name__ for abuse in ABUSES] + ["together"],
        action="append",
        help="run only this attack; may be repeated (default: all)",
    )
    options = parser.parse_args()
    failures = 0
    with tempfile.TemporaryDirectory(prefix="nws-abuse-") as folder:
        sandbox = Sandbox(pathlib.Path(folder))
        try:
            backend = HTTPBackend()
            sandbox.closing(backend)
            relay, exit_node, entry = sandbox.tunnel(backend.address)
            host, port = entry.socks.split(":")
            nodes = {"relay": relay.url, "exit": exit_node.pubkey, "socks": (host, int(port))}
            processes = [node.process for node in (relay, exit_node, entry)]
            download = Download(nodes["socks"], exit_node.name)
            while download.received.value == 0:
                time.sleep(0.05)
            print(f"alone: {download.rate(options.seconds) / 1e6:.1f} MB/s")
            print(
                f"{'attack':<18}{'per second':>10}{'cores':>7}{'MB/s':>8}{'with burner':>15}{'ratio':>7}"
                "   peak memory of relay, exit, entry (MiB)"
            )
            for name, abuses in [(abuse.__name__, [abuse]) for abuse in ABUSES] + [("together", TOGETHER)]:
                if options.only and name not in options.only:
                    continue
                rate, kept, memory, cores = beside(abuses, nodes, download, processes, options.seconds)
                burners = [Burner(taken) for taken in cores]
                # Measure the reference right after the attack, because the speed of a shared machine changes.
                _, reference, _, _ = beside(burners, nodes, download, processes, options.seconds / 2)
                share = kept / reference if reference else 0
                least = LEAST_SHARE if len(abuses) == 1 else LEAST_SHARE_TOGETHER
                verdict = "" if share >= least and max(memory) < MOST_MEMORY else "  FAILED"
                failures += bool(verdict)
                print(
                    f"{name:<18}{rate:>10,.0f}{sum(cores):>7.2f}{kept / 1e6:>8.1f}{reference / 1e6:>15.1f}{share:>7.2f}   "
                    + ", ".join(f"{value / 2**20:.0f}" for value in memory)
                    + verdict,
                    flush=True,
                )
            assert download.process.is_alive(), "the download ended early"
        finally:
            sandbox.close()
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
