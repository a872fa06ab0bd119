# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Fixtures: a sandbox for every test, and services to reach through a tunnel."""

import pytest

from backends import HTTPBackend, TCPBackend
from sandbox import BINARY, Sandbox


def pytest_sessionstart(session):
    if not BINARY.exists():
        pytest.exit(f"there is no {BINARY}; build it with: swift build -c release --product nws", returncode=2)


@pytest.fixture
def sandbox(tmp_path):
    sandbox = Sandbox(tmp_path)
    try:
        yield sandbox
    finally:
        sandbox.close()
    # Whatever a test was about: no output ever holds a secret.
    assert sandbox.leaked_secrets() == []


@pytest.fixture
def http(sandbox):
    """An HTTP service."""
    return sandbox.closing(HTTPBackend())


@pytest.fixture
def serve(sandbox):
    """Serves TCP connections with a function that takes the socket."""
    return lambda function: sandbox.closing(TCPBackend(function))
