# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""git and ssh through the tunnel."""

import getpass
import os
import pwd
import shutil
from pathlib import Path

import pytest

from backends import FolderBackend, content, sha256
from programs import needed
from sandbox import unused_port

# git


def git(sandbox, *arguments, cwd=None):
    environment = {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": "Test",
        "GIT_AUTHOR_EMAIL": "test@localhost",
        "GIT_COMMITTER_NAME": "Test",
        "GIT_COMMITTER_EMAIL": "test@localhost",
    }
    process = sandbox.spawn(needed("git"), *arguments, cwd=cwd, env=environment)
    assert process.wait(60) == 0, process.describe()
    return "\n".join(process.stdout)


def test_git_clones_over_http_through_the_tunnel(sandbox):
    source, bare, clone = (sandbox.folder / name for name in ("source", "served/project.git", "clone"))
    git(sandbox, "init", "-q", source)
    for number in range(20):
        (source / f"file-{number}").write_bytes(content(10_000 + number))
        git(sandbox, "add", ".", cwd=source)
        git(sandbox, "commit", "-q", "-m", f"File {number}", cwd=source)
    git(sandbox, "clone", "-q", "--bare", source, bare)
    git(sandbox, "update-server-info", cwd=bare)

    backend = sandbox.closing(FolderBackend(sandbox.folder / "served"))
    _, exit_node, entry = sandbox.tunnel(backend.address)
    git(
        sandbox,
        "-c",
        f"http.proxy=socks5h://{entry.socks}",
        "clone",
        "-q",
        f"http://{exit_node.name}/project.git",
        clone,
    )

    assert git(sandbox, "rev-parse", "HEAD", cwd=clone) == git(sandbox, "rev-parse", "HEAD", cwd=source)
    git(sandbox, "fsck", "--full", cwd=clone)
    assert sha256((clone / "file-19").read_bytes()) == sha256(content(10_019))


# ssh

SERVER_CONFIGURATION = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host-key
AuthorizedKeysFile {folder}/authorized-keys
PidFile none
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
"""


@pytest.fixture
def ssh(sandbox):
    """Starts an SSH server behind a tunnel; gives a function that runs a command on it."""
    server = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if server is None:
        pytest.skip("sshd is not installed")
    if os.geteuid() == 0:
        try:
            pwd.getpwnam("sshd")
        except KeyError:
            pytest.skip("sshd's user is missing; it is not installed as it should be")
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    client, ncat = needed("ssh"), needed("ncat")

    for name in ("host-key", "user-key"):
        made = sandbox.spawn(needed("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", sandbox.folder / name)
        assert made.wait() == 0, made.describe()
    shutil.copy(sandbox.folder / "user-key.pub", sandbox.folder / "authorized-keys")
    port = unused_port()
    configuration = sandbox.write("sshd_config", SERVER_CONFIGURATION.format(port=port, folder=sandbox.folder))
    sandbox.spawn(server, "-D", "-e", "-f", configuration).wait_for_log("Server listening")
    _, exit_node, entry = sandbox.tunnel(f"127.0.0.1:{port}")

    def run(command):
        proxy = f"{ncat} --proxy {entry.socks} --proxy-type socks5 --proxy-dns remote %h %p"
        process = sandbox.spawn(
            "/bin/sh", "-c", f'exec "$@" {command}', "sh", client, "-F", "none", "-i", sandbox.folder / "user-key",
            "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
            "-o", f"UserKnownHostsFile={sandbox.folder}/known-hosts", "-o", f"ProxyCommand={proxy}",
            f"{getpass.getuser()}@{exit_node.name}",
        )  # fmt: skip
        assert process.wait(60) == 0, process.describe()
        return process.stdout

    return run


def test_ssh_runs_a_command_through_the_tunnel(ssh):
    assert ssh("echo hello from behind") == ["hello from behind"]


def test_ssh_carries_a_megabyte_there_and_back(sandbox, ssh):
    (sandbox.folder / "there").write_bytes(content(1_000_000))
    ssh(f"cat <{sandbox.folder}/there >{sandbox.folder}/back")
    assert sha256((sandbox.folder / "back").read_bytes()) == sha256(content(1_000_000))
