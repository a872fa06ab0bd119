# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""The processes of a soak test. They can be started, killed, frozen and measured; their logs go to files."""

import asyncio
import collections
import json
import os
import signal
import time
import urllib.request

STARTING = 60
"""Seconds within which a process must be ready."""


class Node:
    """A process that can be restarted with the same arguments."""

    def __init__(self, name, arguments, ready, folder, on_death):
        self.name = name
        self.role = name.split("-")[0]
        self.arguments = [str(argument) for argument in arguments]
        self.log = folder / f"{name}.log"
        self.values = {}
        self.starts = 0
        self._ready = set(ready)
        self._folder = folder
        self._on_death = on_death
        self._process = None
        self._is_wanted = False
        self._tasks = []

    @property
    def pid(self):
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self):
        """Starts the process and waits until it has printed the expected keys."""
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._folder),
            "TMPDIR": str(self._folder),
            "LC_ALL": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
        }
        with open(self.log, "ab") as log:
            log.write(f"--- started at {time.strftime('%H:%M:%S', time.gmtime())}\n".encode())
            log.flush()
            self._process = await asyncio.create_subprocess_exec(
                *self.arguments,
                cwd=self._folder,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self.starts += 1
        self.values = {}
        self._is_wanted = True
        self._tasks = [asyncio.create_task(self._watch(self._process))]
        await asyncio.wait_for(self._read_until_ready(), STARTING)
        self._tasks.append(asyncio.create_task(self._read_on(self._process.stdout)))

    async def _read_until_ready(self):
        while line := await self._process.stdout.readline():
            key, _, value = line.decode().rstrip("\n").partition(": ")
            self.values[key] = value
            if self._ready <= self.values.keys():
                return
        raise RuntimeError(f"{self.name} did not start; the end of its log:\n{self.tail(20)}")

    @staticmethod
    async def _read_on(pipe):
        while await pipe.read(1 << 16):
            pass

    async def _watch(self, process):
        status = await process.wait()
        if self._is_wanted:
            self._is_wanted = False
            self._on_death(self, status)

    async def kill(self):
        self._is_wanted = False
        if self.pid:
            os.killpg(self.pid, signal.SIGKILL)
        if self._process:
            await self._process.wait()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def send(self, number):
        if self.pid:
            os.kill(self.pid, number)

    # Logs and status

    def tail(self, count):
        """Returns the last lines of the log."""
        try:
            with open(self.log, errors="replace") as file:
                return "".join(collections.deque(file, count))
        except OSError:
            return ""

    async def ask(self, path, base=None):
        """Returns the JSON at a path of the node's admin server, or of `base`."""
        address = (base or self.values.get("admin", "")).rstrip("/") + path

        def fetch():
            with urllib.request.urlopen(address, timeout=10) as answer:
                return json.loads(answer.read())

        return await asyncio.get_running_loop().run_in_executor(None, fetch)

    def usage(self):
        """Returns file descriptors, threads and resident memory in bytes, or None if /proc is not available."""
        try:
            with open(f"/proc/{self.pid}/status") as file:
                status = dict(line.split(":", 1) for line in file if ":" in line)
            descriptors = len(os.listdir(f"/proc/{self.pid}/fd"))
        except OSError:
            return None
        return {
            "pid": self.pid,
            "descriptors": descriptors,
            "threads": int(status["Threads"]),
            "memory": int(status["VmRSS"].split()[0]) * 1024,
        }
