# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Child processes whose output can be waited for."""

import os
import signal
import subprocess
import threading
import time

TIMEOUT = 30
"""Seconds to wait for something that should happen. Generous, because test machines are busy."""


class Process:
    """A child process whose output is collected line by line."""

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
        """The lines printed to standard output so far."""
        with self._changed:
            return list(self._lines["stdout"])

    @property
    def stderr(self):
        with self._changed:
            return "\n".join(self._lines["stderr"])

    @property
    def output(self):
        """Everything printed so far to standard output and standard error."""
        return "\n".join(self.stdout) + "\n" + self.stderr

    def describe(self):
        return f"{' '.join(self.arguments)}\nstdout: {self.stdout}\nstderr:\n{self.stderr[-4000:]}"

    def wait_for(self, matches, stream="stdout", timeout=TIMEOUT):
        """Waits for a line for which `matches` is true; returns the first one."""
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
        """Waits for a line `key: value` on standard output; returns the value."""
        return self.wait_for(lambda line: line.startswith(key + ": "), timeout=timeout)[len(key) + 2 :]

    def wait_for_log(self, text, timeout=TIMEOUT):
        return self.wait_for(lambda line: text in line, stream="stderr", timeout=timeout)

    def keys(self):
        """Returns the keys of the `key: value` lines on standard output; every line must be one."""
        assert all(": " in line for line in self.stdout), self.describe()
        return [line.split(": ", 1)[0] for line in self.stdout]

    # Lifetime

    @property
    def is_running(self):
        return self._popen.poll() is None

    def wait(self, timeout=TIMEOUT):
        """Waits for the process to end and all output to be read; returns the exit status."""
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
        """Kills the process and its children."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._popen.wait()
        for reader in self._readers:
            reader.join(5)

    def peak_memory(self):
        """Returns the peak resident memory in bytes, or None if /proc is not available."""
        return self._memory("VmHWM:")

    def memory(self):
        """Returns the current anonymous resident memory in bytes, or None if /proc is not available."""
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
    """Repeats the check until it returns a true value; returns that value."""
    deadline = time.monotonic() + timeout
    while True:
        result = check()
        if result:
            return result
        assert time.monotonic() < deadline, f"did not happen within {timeout} s: {check}"
        time.sleep(every)
