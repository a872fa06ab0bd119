# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Other programs that the tests run, such as curl."""

import shutil
from pathlib import Path

import pytest

from backends import sha256


def needed(name):
    """Returns the path of a program; skips the test if it is not installed."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


class Curl:
    """A running curl that uses an entry as its proxy and writes the body to a file."""

    def __init__(self, sandbox, entry, host, path, *options, timeout=60):
        self.timeout = timeout
        self.body_file = Path(sandbox.folder) / f"body-{len(sandbox.processes)}"
        self.process = sandbox.spawn(
            needed("curl"), "-sS", "--fail", "--max-time", timeout, "--socks5-hostname", entry.socks,
            "-o", self.body_file, *options, f"http://{host}{path}",
        )  # fmt: skip

    def status(self):
        """Waits for curl to end; returns its exit status."""
        return self.process.wait(self.timeout + 10)

    def body(self):
        """Returns the fetched body; fails if curl failed."""
        assert self.status() == 0, self.process.describe()
        return self.body_file.read_bytes()

    def digest(self):
        return sha256(self.body())

    @property
    def size(self):
        """Number of bytes received so far."""
        return self.body_file.stat().st_size if self.body_file.exists() else 0
