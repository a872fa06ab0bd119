# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Other people's programs."""

import shutil
from pathlib import Path

import pytest

from backends import sha256


def needed(name):
    """The path of a program; the test is skipped without it."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


class Curl:
    """A running curl that goes through an entry and writes the body to a file."""

    def __init__(self, sandbox, entry, host, path, *options, timeout=60):
        self.timeout = timeout
        self.body_file = Path(sandbox.folder) / f"body-{len(sandbox.processes)}"
        self.process = sandbox.spawn(
            needed("curl"), "-sS", "--fail", "--max-time", timeout, "--socks5-hostname", entry.socks,
            "-o", self.body_file, *options, f"http://{host}{path}",
        )  # fmt: skip

    def status(self):
        """curl's exit status, at its end."""
        return self.process.wait(self.timeout + 10)

    def body(self):
        """What was fetched; fails if curl did."""
        assert self.status() == 0, self.process.describe()
        return self.body_file.read_bytes()

    def digest(self):
        return sha256(self.body())

    @property
    def size(self):
        """How much has come so far."""
        return self.body_file.stat().st_size if self.body_file.exists() else 0
