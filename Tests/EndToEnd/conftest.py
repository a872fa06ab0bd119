# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Fixtures: a sandbox for each test, and services to reach through a tunnel."""

import pytest

from backends import HTTPBackend, TCPBackend
from homes import Home
from sandbox import BINARY, Sandbox


def pytest_sessionstart(session):
    if not BINARY.exists():
        pytest.exit(f"there is no {BINARY}; build it with: scripts/test-build", returncode=2)


@pytest.fixture
def sandbox(tmp_path):
    sandbox = Sandbox(tmp_path)
    try:
        yield sandbox
    finally:
        sandbox.close()
    # No process may print a secret key, whatever the test is about.
    assert sandbox.leaked_secrets() == []


@pytest.fixture
def http(sandbox):
    """An HTTP service."""
    return sandbox.closing(HTTPBackend())


@pytest.fixture
def serve(sandbox):
    """Returns a function that starts a TCP service; its argument handles the socket of each connection."""
    return lambda function: sandbox.closing(TCPBackend(function))


@pytest.fixture
def home(sandbox):
    return Home(sandbox, "at-home")


@pytest.fixture
def laptop(sandbox):
    return Home(sandbox, "laptop")
