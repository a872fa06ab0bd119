# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""A small wide-area network on this machine: hosts that are network namespaces, and router.c between them."""

import os
import pathlib
import signal
import subprocess
import tempfile

FOLDER = pathlib.Path(__file__).resolve().parent


def built_router():
    """Compiles router.c if needed and returns the program."""
    source = FOLDER / "router.c"
    program = pathlib.Path(tempfile.gettempdir()) / f"nws-wan-router-{os.getuid()}"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["gcc", "-O2", "-o", program, source], check=True)
    return program


class Network:
    """Hosts and the links between them. Use it as a context manager; at its end all processes and hosts are gone.

    `hosts` gives each host's name and link, for example {"relay": "delay=20,rate=100"}. They get the addresses 10.77.0.1,
    10.77.0.2 and so on, in this order.
    """

    def __init__(self, hosts, congestion=None, folder=None):
        self._hosts = hosts
        self._congestion = congestion
        self._temporary = tempfile.TemporaryDirectory(prefix="nws-wan-")
        self.folder = pathlib.Path(folder or self._temporary.name)
        self._processes = []
        self._router = None

    def __enter__(self):
        arguments = [f"name={name},{link}" for name, link in self._hosts.items()]
        self._router = subprocess.Popen(
            [built_router(), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self._router.stdout.readline().strip() != "ready":
            raise RuntimeError("the router did not start; it needs root, iproute2 and /dev/net/tun")
        if self._congestion:
            for name in self._hosts:
                route = ["ip", "-n", f"wan-{name}", "route", "replace", "10.77.0.0/16", "dev", "wan0"]
                subprocess.run([*route, "congctl", self._congestion], check=True)
        return self

    def __exit__(self, *_):
        for process in reversed(self._processes):
            if process.poll() is None:
                process.kill()
        for process in self._processes:
            process.wait()
        self._router.send_signal(signal.SIGTERM)
        self._router.wait()
        self._temporary.cleanup()

    def address(self, host, family=4):
        number = list(self._hosts).index(host) + 1
        return f"10.77.0.{number}" if family == 4 else f"[fd77::{number}]"

    def tell(self, command):
        """Sends a command to the router, such as "down entry", and waits until it is done."""
        self._router.stdin.write(command + "\n")
        self._router.stdin.flush()
        if self._router.stdout.readline().strip() != "done":
            raise RuntimeError(f"the router ended after: {command}")

    def start(self, host, *command, **options):
        """Starts a process on a host."""
        home = self.folder / host
        home.mkdir(exist_ok=True)
        environment = dict(os.environ, HOME=str(home), XDG_STATE_HOME=str(home / "state"))
        # The program would warn that it does not know this variable.
        environment.pop("NWS_BINARY", None)
        process = subprocess.Popen(
            ["ip", "netns", "exec", f"wan-{host}", *map(str, command)], cwd=home, env=environment, **options
        )
        self._processes.append(process)
        return process
