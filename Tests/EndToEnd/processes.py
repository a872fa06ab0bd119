# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Child processes whose lines can be waited for."""

import os
import signal
import subprocess
import threading
import time

TIMEOUT = 30
"""Seconds after which something that should happen is taken not to. Generous: machines of tests are busy."""


class Process:
    """A child whose output is collected line by line, from its start to its end."""

    def __init__(self, arguments, cwd, environment, shows_secret=False):
        self.arguments = [str(argument) for argument in arguments]
        self.shows_secret = shows_secret
        self._changed = threading.Condition()
        self._lines = {"stdout": [], "stderr": []}
        self._popen = subprocess.Popen(
            self.arguments,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.pid = self._popen.pid
        self._readers = [
            threading.Thread(target=self._read, args=(name, getattr(self._popen, name)), daemon=True)
            for name in self._lines
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name, pipe):
        for raw in pipe:
            with self._changed:
                self._lines[name].append(raw.decode("utf-8", "replace").rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    # Output

    @property
    def stdout(self):
        """The lines so far."""
        with self._changed:
            return list(self._lines["stdout"])

    @property
    def stderr(self):
        with self._changed:
            return "\n".join(self._lines["stderr"])

    @property
    def output(self):
        """All that was printed, to both."""
        return "\n".join(self.stdout) + "\n" + self.stderr

    def describe(self):
        return f"{' '.join(self.arguments)}\nstdout: {self.stdout}\nstderr:\n{self.stderr[-4000:]}"

    def wait_for(self, matches, stream="stdout", timeout=TIMEOUT):
        """The first line that matches, as soon as it is there."""
        deadline = time.monotonic() + timeout
        with self._changed:
            seen = 0
            while True:
                lines = self._lines[stream]
                for line in lines[seen:]:
                    if matches(line):
                        return line
                seen = len(lines)
                left = deadline - time.monotonic()
                ended = not any(reader.is_alive() for reader in self._readers)
                if left <= 0 or ended:
                    break
                self._changed.wait(min(left, 0.5))
        raise AssertionError(f"the line did not come ({'ended' if ended else 'timed out'}): {self.describe()}")

    def value(self, key, timeout=TIMEOUT):
        """What stands behind `key: ` on standard output."""
        return self.wait_for(lambda line: line.startswith(key + ": "), timeout=timeout)[len(key) + 2 :]

    def wait_for_log(self, text, timeout=TIMEOUT):
        return self.wait_for(lambda line: text in line, stream="stderr", timeout=timeout)

    def keys(self):
        """The keys of the lines on standard output; every line must have one."""
        assert all(": " in line for line in self.stdout), self.describe()
        return [line.split(": ", 1)[0] for line in self.stdout]

    # Life

    @property
    def is_running(self):
        return self._popen.poll() is None

    def wait(self, timeout=TIMEOUT):
        """The exit status, once all output was read."""
        try:
            status = self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not end: {self.describe()}") from None
        for reader in self._readers:
            reader.join(timeout)
        return status

    def send(self, number):
        os.kill(self.pid, number)

    def kill(self):
        """Ends the process and whatever it started, at once."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._popen.wait()
        for reader in self._readers:
            reader.join(5)

    def peak_memory(self):
        """Most bytes of memory that the process had resident; None where the system doesn't tell."""
        return self._memory("VmHWM:")

    def memory(self):
        """Bytes of memory of its own that the process has now; None where the system doesn't tell."""
        return self._memory("RssAnon:")

    def _memory(self, name):
        try:
            with open(f"/proc/{self.pid}/status") as file:
                for line in file:
                    if line.startswith(name):
                        return int(line.split()[1]) * 1024
        except OSError:
            pass
        return None


def eventually(check, timeout=TIMEOUT, every=0.1):
    """Repeats the check until it returns something true, and returns that."""
    deadline = time.monotonic() + timeout
    while True:
        result = check()
        if result:
            return result
        assert time.monotonic() < deadline, f"did not happen within {timeout} s: {check}"
        time.sleep(every)
