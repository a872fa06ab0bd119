# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""The programs that are measured on a network: nws, and ssh through the relay's host for comparison."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

FOLDER = pathlib.Path(__file__).resolve().parent
PROGRAM = os.path.abspath(os.environ.get("NWS_BINARY") or FOLDER.parents[1] / ".build/release/nws")
STARTING = 30
"""Seconds within which a process must be ready."""


class Role:
    """A running nws command. `facts` has the lines that it prints, by their key."""

    def __init__(self, network, host, *arguments, want):
        self.log = network.folder / f"{host}-{arguments[0]}.log"
        self.facts = {}
        with open(self.log, "ab") as log:
            self.process = network.start(host, PROGRAM, *arguments, stdout=subprocess.PIPE, stderr=log)
        threading.Thread(target=self._read, daemon=True).start()
        end = time.time() + STARTING
        while want not in self.facts:
            if self.process.poll() is not None or time.time() > end:
                raise RuntimeError(f"nws {arguments[0]} did not print {want}: {self.log.read_text()[-500:]}")
            time.sleep(0.01)

    def _read(self):
        for line in self.process.stdout:
            key, _, value = line.decode().strip().partition(": ")
            self.facts[key] = value

    def processor_seconds(self):
        """The processor time that the process has used so far."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self):
        """The memory that the process uses, in bytes."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) * 1024

    def freeze(self):
        # The process is a child of "ip netns exec", which replaces itself.
        self.process.send_signal(signal.SIGSTOP)


class Way:
    """A way to the services: a SOCKS proxy and a name, or forwarded ports."""

    def __init__(self, network, proxy, name, ports=(80, 81)):
        self.network, self.proxy, self.name, self.ports = network, proxy, name, ports

    def start(self, what, number):
        port = self.ports[0] if what in ("get", "getfor", "put") else self.ports[1]
        return self.network.start(
            "entry", sys.executable, FOLDER / "client.py", self.proxy, self.name, port, what, number,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, what, number):
        return self.result(self.start(what, number))

    @staticmethod
    def result(process):
        output, errors = process.communicate()
        if process.returncode != 0:
            raise RuntimeError(errors.decode().strip().splitlines()[-1])
        return json.loads(output)

    def rate(self, what, size):
        """MB/s of a transfer. Fails if a byte was wrong."""
        result = self.run(what, size)
        if not result["is_right"]:
            raise RuntimeError(f"{what} of {size} bytes: wrong bytes")
        return size / result["seconds"] / 1e6


def serve(network, *sizes):
    """Starts the services, with content of these sizes."""
    process = network.start("exit", sys.executable, FOLDER / "services.py", *map(str, sizes), stdout=subprocess.PIPE)
    process.stdout.readline()


class Nws:
    """Relays, an exit and an entry. `way` leads through them. If it is `listed`, the exit knows the entry by its identity.
    `at_exit` and `at_entry` are further options."""

    def __init__(self, network, relays=("relay",), tls=False, family=4, listed=False, at_exit=(), at_entry=()):
        scheme, options, trust = "ws", (), ()
        if tls:
            certificate, key = self._certificate(network, [network.address(relay, family) for relay in relays])
            scheme, options, trust = "wss", ("--tls-cert", certificate, "--tls-key", key), ("--ca-file", certificate)
        self.relays = {
            relay: Role(
                network, relay, "relay", "--listen", f"{network.address(relay, family)}:7777", *options, want="relay"
            )
            for relay in relays
        }
        urls = [f"{scheme}://{network.address(relay, family)}:7777" for relay in relays]
        named = [argument for url in urls for argument in ("--relay", url)]
        allow, entry = (), ()
        if listed:
            key = network.folder / "identity.key"
            lines = subprocess.check_output([PROGRAM, "key", "generate", "--key-file", key], text=True).splitlines()
            npub = next(line.removeprefix("npub: ") for line in lines if line.startswith("npub: "))
            allow, entry = ("--allow", npub), ("--identity", key)
        self.exit = Role(
            network, "exit", "exit", *named, *trust, *allow, "--service", "80=127.0.0.1:8080", "81=127.0.0.1:8081",
            "--key-file", network.folder / "exit.key", *at_exit, want="name",
        )  # fmt: skip
        self.name = self.exit.facts["name"]
        if listed:
            entry = (*entry, "--identity-for", self.name)
        self._network = network
        self._entry_options = (*trust, *entry, *at_entry)
        self.start_entry()

    def processor_seconds(self):
        return sum(role.processor_seconds() for role in (*self.relays.values(), self.exit, self.entry))

    def start_entry(self):
        self.entry = Role(
            self._network, "entry", "entry", "--listen", "127.0.0.1:1080", "--allow-local-relays",
            *self._entry_options, want="socks",
        )  # fmt: skip
        self.way = Way(self._network, self.entry.facts["socks"], self.name)

    def restart_entry(self):
        self.entry.process.kill()
        self.entry.process.wait()
        self.start_entry()

    @staticmethod
    def _certificate(network, addresses):
        certificate, key = network.folder / "relay.crt", network.folder / "relay.key"
        names = ",".join(f"IP:{address.strip('[]')}" for address in addresses)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", "/CN=relay", "-addext", f"subjectAltName={names}", "-keyout", key, "-out", certificate],
            check=True, capture_output=True,
        )  # fmt: skip
        return certificate, key


def ssh(network):
    """The exit's host forwards its services to the relay's host by ssh, and the entry's host forwards from there."""
    folder = network.folder
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / f"{name}.ssh"], check=True)
    pathlib.Path("/run/sshd").mkdir(exist_ok=True)
    settings = folder / "sshd.conf"
    settings.write_text(
        f"Port 2222\nHostKey {folder}/host.ssh\nAuthorizedKeysFile {folder}/user.ssh.pub\nStrictModes no\n"
        "PermitRootLogin yes\nUsePAM no\nPidFile none\n"
    )
    network.start("relay", "/usr/sbin/sshd", "-D", "-f", settings, stderr=subprocess.DEVNULL)
    options = [
        "-p", "2222", "-i", folder / "user.ssh", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
        "-o", "LogLevel=ERROR", "-o", "ConnectionAttempts=20", "-N",
    ]  # fmt: skip
    host = f"root@{network.address('relay')}"
    network.start("exit", "ssh", *options, "-R", "9080:127.0.0.1:8080", "-R", "9081:127.0.0.1:8081", host)
    network.start("entry", "ssh", *options, "-L", "9080:127.0.0.1:9080", "-L", "9081:127.0.0.1:9081", host)
    way = Way(network, "-", "127.0.0.1", (9080, 9081))
    end = time.time() + STARTING
    while True:
        try:
            way.run("open", 1)
            return way
        except RuntimeError:
            if time.time() > end:
                raise
            time.sleep(0.5)
