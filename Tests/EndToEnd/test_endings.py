# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Endings and conflicts: clients that get a signal, lost relays, and processes that share a key, port or file."""

import json
import signal
import shutil
import subprocess
import urllib.request

import pytest

from backends import TCPBackend, echo
from processes import eventually
from raw_socks import SUCCEEDED, reply_to
from sandbox import BINARY, unused_port

UNAVAILABLE = 69
CONFIGURATION = 78


def status_of(port):
    return json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/status.json", timeout=10))


@pytest.mark.parametrize("ending", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_the_exit_hears_that_a_connect_was_ended(sandbox, ending):
    echoing = sandbox.closing(TCPBackend(echo))
    relay = sandbox.relay()
    port = unused_port()
    exit_node = sandbox.exit([relay.url], echoing.address, options=("--admin", f"127.0.0.1:{port}"))
    # Keep standard input open, as ssh does.
    command = [BINARY, "connect", f"{exit_node.name}:22"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=sandbox.environment) as process:
        eventually(lambda: [session["streams"] for session in status_of(port)["sessions"]] == [1])
        process.send_signal(ending)
        assert process.wait(20) == 128 + ending
    eventually(lambda: not status_of(port)["sessions"])


def test_a_request_of_a_session_whose_relay_is_gone_fails(sandbox):
    echoing = sandbox.closing(TCPBackend(echo))
    relay, exit_node, entry = sandbox.tunnel(echoing.address)
    assert reply_to(entry.address, exit_node.name) == SUCCEEDED
    relay.process.kill()
    entry.process.wait_for_log("relay down")
    assert reply_to(entry.address, exit_node.name) == 4


def test_a_key_has_one_exit_wherever_it_is_kept(sandbox):
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url])
    shutil.copy(sandbox.folder / "exit.key", sandbox.folder / "copy.key")
    (sandbox.folder / "copy.key").chmod(0o600)
    secret = (sandbox.folder / "exit.key").read_text().strip()
    for options, env in [
        (("--key-file", "exit.key"), {}),
        (("--key-file", "copy.key"), {}),
        ((), {"NOSTR_PRIVATE_KEY": secret}),
        # Also with an admin server.
        (("--key-file", "exit.key", "--admin", "127.0.0.1:0"), {}),
    ]:
        process, status = sandbox.finished("exit", "--relay", relay.url, "--backend", "127.0.0.1:9", *options, env=env)
        assert status == UNAVAILABLE and "another exit (nws share or nws exit) is running" in process.stderr
        assert exit_node.name not in "".join(process.stdout)


def test_a_role_that_cannot_have_its_pages_announces_nothing(sandbox):
    relay = sandbox.relay()
    taken = f"127.0.0.1:{relay.url.rsplit(':', 1)[1]}"
    for command in (("exit", "--relay", relay.url, "--backend", "127.0.0.1:9"), ("relay", "--listen", "127.0.0.1:0")):
        process, status = sandbox.finished(*command, "--admin", taken)
        assert status == UNAVAILABLE and "the port is in use" in process.stderr
        assert process.stdout == []
        for check in ((), ("--check-config",)):
            process, status = sandbox.finished(*command, "--admin", "0.0.0.0:0", *check)
            assert status == CONFIGURATION and "--admin-token" in process.stderr
            assert process.stdout == []


def test_two_relays_do_not_share_a_store(sandbox):
    sandbox.relay("--store", "events.sqlite")
    process, status = sandbox.finished("relay", "--listen", "127.0.0.1:0", "--store", "events.sqlite")
    assert status != 0 and "in use by another relay" in process.stderr


@pytest.mark.parametrize(
    "rule", ["deny host local*", "deny host foo.*.com", "deny host http://foo", "deny host foo..com", "deny port 80,"]
)
def test_a_rule_that_could_never_match_is_refused(sandbox, rule):
    process, status = sandbox.finished(
        "exit", "--relay", "ws://127.0.0.1:1", "--public", "--rule", rule, "--check-config"
    )
    assert status == CONFIGURATION and "--rule" in process.stderr


def test_an_exit_that_nobody_can_reach_says_so(sandbox):
    exit_node = sandbox.starting_exit(["ws://127.0.0.1:1"], options=("--log-level", "warning"))
    exit_node.wait_for_log("no client can reach this exit")
