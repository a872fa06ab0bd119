# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Installed files: example configurations, unit files, and notifications to the service manager."""

import re
import shutil
import signal
import socket
import subprocess

import pytest

from sandbox import BINARY, REPOSITORY

ROLES = ["exit", "entry", "relay"]


def uncommented(text):
    """Returns the example with all commented-out options enabled."""
    return re.sub(r"^# ([a-z-]+: [^ ].*)$", r"\1", text, flags=re.M)


@pytest.mark.parametrize("role", ROLES)
def test_examples_are_good(sandbox, role):
    example = REPOSITORY / f"packaging/examples/{role}.yaml"
    assert sandbox.succeed(role, "--config", example, "--check-config") [-1:] == ["configuration: ok"]


@pytest.mark.parametrize("role", ROLES)
def test_every_option_that_an_example_names_is_one(sandbox, role):
    text = (REPOSITORY / f"packaging/examples/{role}.yaml").read_text()
    known = subprocess.run([BINARY, role, "--help"], capture_output=True, text=True, check=True).stdout
    for name in re.findall(r"^([a-z-]+):", uncommented(text), flags=re.M):
        assert re.search(rf"--{name}(?![a-z-])", known), name


@pytest.mark.parametrize("role", ROLES)
def test_unit_files_run_the_role_with_its_file(role):
    text = (REPOSITORY / f"packaging/systemd/nws-{role}.service").read_text()
    assert f"nws {role} --config /etc/nws/{role}.yaml" in text
    assert "Type=notify" in text and "WatchdogSec=" in text and "DynamicUser=yes" in text


def test_the_service_manager_is_told(sandbox):
    address = sandbox.folder / "notify"
    listener = sandbox.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    listener.bind(str(address))
    listener.settimeout(20)
    relay = sandbox.nws(
        "relay", "--listen", "127.0.0.1:0", env={"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "200000"}
    )
    assert listener.recv(100) == b"READY=1"
    assert listener.recv(100) == b"WATCHDOG=1"
    relay.send(signal.SIGTERM)
    while (message := listener.recv(100)) == b"WATCHDOG=1":
        pass
    assert message == b"STOPPING=1"
    assert relay.wait() == 0


def test_an_exit_without_relays_is_not_ready(sandbox):
    address = sandbox.folder / "notify"
    listener = sandbox.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    listener.bind(str(address))
    listener.settimeout(1)
    waiting = sandbox.starting_exit(["ws://127.0.0.1:9"], env={"NOTIFY_SOCKET": str(address)})
    waiting.wait_for_log("relay down")
    with pytest.raises(TimeoutError):
        listener.recv(100)
    assert waiting.is_running


def test_install(sandbox):
    root = sandbox.folder / "root"
    subprocess.run(
        ["make", "-C", REPOSITORY, "install", f"PROGRAM={BINARY}", f"DESTDIR={root}", "PREFIX=/usr"],
        check=True,
        capture_output=True,
    )
    assert (root / "usr/bin/nws").stat().st_mode & 0o777 == 0o755
    manual = (root / "usr/share/man/man1/nws.1").read_text()
    assert ".SS nws exit" in manual and "NWS_MAX_STREAMS" in manual
    if shutil.which("groff"):
        shown = subprocess.run(
            ["groff", "-K", "utf8", "-man", "-Tutf8", "-ww", root / "usr/share/man/man1/nws.1"], capture_output=True, text=True, check=True
        )
        assert not shown.stderr
    completions = (root / "usr/share/bash-completion/completions/nws").read_text()
    assert "--max-streams" in completions
    subprocess.run(["bash", "-n"], input=completions, text=True, check=True)
    assert (root / "usr/share/zsh/site-functions/_nws").exists()
    assert (root / "usr/share/fish/vendor_completions.d/nws.fish").exists()
    for role in ROLES:
        assert "/usr/bin/nws" in (root / f"usr/lib/systemd/system/nws-{role}.service").read_text()
        assert (root / f"usr/share/doc/nws/examples/{role}.yaml").exists()


def test_what_the_service_manager_hands_on_may_be_read_by_its_group(sandbox):
    sandbox.succeed("key", "generate", "--key-file", "key")
    (sandbox.folder / "key").chmod(0o440)
    assert sandbox.finished("key", "show", "--key-file", sandbox.folder / "key")[1] == 78
    sandbox.succeed("key", "show", "--key-file", sandbox.folder / "key", env={"CREDENTIALS_DIRECTORY": str(sandbox.folder)})
