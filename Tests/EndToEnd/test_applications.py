# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Applications through the tunnel: git, ssh, psql and redis-cli."""

import getpass
import os
import pwd
import shutil
import tempfile
from pathlib import Path

import pytest

from backends import FolderBackend, content, sha256
from programs import needed
from raw_socks import HOST_UNREACHABLE, REFUSED, http_get, reply_to
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
    """Starts an SSH server behind a tunnel; returns a function that runs a command on it."""
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


# PostgreSQL and Redis, for authorized clients


@pytest.fixture
def postgres(sandbox):
    """Starts a PostgreSQL server that listens only on a Unix socket; returns the path of the socket."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("PostgreSQL is not installed")
    programs = found[-1].parent
    folder = Path(tempfile.mkdtemp(prefix="nws-pg-"))
    sandbox.closers.append(lambda: shutil.rmtree(folder, ignore_errors=True))
    become = []
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root.
        shutil.chown(folder, "postgres")
        become = [needed("runuser"), "-u", "postgres", "--"]
    made = sandbox.spawn(
        *become, programs / "initdb", "-D", folder / "data", "-A", "trust", "-U", "test", "--no-sync", cwd="/"
    )
    assert made.wait(60) == 0, made.describe()
    server = sandbox.spawn(
        *become, programs / "postgres", "-D", folder / "data", "-k", folder, "-c", "listen_addresses=", cwd="/"
    )
    server.wait_for_log("ready to accept connections")
    return folder / ".s.PGSQL.5432"


def test_five_services_behind_one_name_and_two_identities(sandbox, http, postgres):
    redis_port = unused_port()
    redis = sandbox.spawn(needed("redis-server"), "--port", redis_port, "--bind", "127.0.0.1", "--save", "")
    redis.wait_for(lambda line: "eady to accept connections" in line)
    client, psql = needed("redis-cli"), needed("psql")
    for name in ("friend", "other"):
        sandbox.succeed("key", "generate", "--key-file", f"{name}.key")
    friend = next(line for line in sandbox.succeed("key", "show", "--key-file", "friend.key") if "npub1" in line)
    npub = next(word for word in friend.split() if word.startswith("npub1"))
    sandbox.succeed("key", "authorize", "allowed", npub, "--comment", "friend")
    relay = sandbox.relay()
    exit_node = sandbox.exit(
        [relay.url], None,
        options=(
            "--service", f"80={http.address}", f"8080={http.address}", f"5432=unix:{postgres}",
            f"6379=127.0.0.1:{redis_port}", "22=127.0.0.1:9", "--allow", "allowed",
        ),
    )  # fmt: skip

    def forwards(identity):
        process = sandbox.nws(
            "forward", "127.0.0.1:0", f"{exit_node.name}:5432", "127.0.0.1:0", f"{exit_node.name}:6379",
            "--identity", identity,
        )  # fmt: skip
        lines = [process.wait_for(lambda line, port=port: line.endswith(port)) for port in (":5432", ":6379")]
        return process, [line.split()[1].rsplit(":", 1)[1] for line in lines]

    _, (database, cache) = forwards("friend.key")
    query = (
        psql, "-h", "127.0.0.1", "-p", database, "-U", "test", "-d", "postgres", "-Atc",
        "create table t as select generate_series(1, 200000) n; select sum(n), count(*) from t",
    )  # fmt: skip
    process = sandbox.spawn(*query)
    assert process.wait(60) == 0, process.describe()
    assert process.stdout[-1] == "20000100000|200000"
    process = sandbox.spawn(client, "-p", cache, "set", "greeting", "x" * 100_000)
    assert process.wait() == 0 and process.stdout == ["OK"]
    process = sandbox.spawn(client, "-p", cache, "strlen", "greeting")
    assert process.wait() == 0 and process.stdout == ["100000"]
    entry = sandbox.entry("--identity", "friend.key")
    for port in (80, 8080):
        assert http_get(entry.address, exit_node.name, "/bytes/1000", port) == content(1000)
    # Only authorized clients learn that this service is down; the exit does not answer others.
    assert reply_to(entry.address, exit_node.name, 22) == REFUSED

    refused, (database, _) = forwards("other.key")
    process = sandbox.spawn(psql, "-h", "127.0.0.1", "-p", database, "-U", "test", "-d", "postgres", "-Atc", "select 1")
    assert process.wait(60) != 0
    refused.wait_for_log("this device is not authorized")
    stranger = sandbox.entry("--identity", "other.key", "--protocol", "session")
    assert reply_to(stranger.address, exit_node.name, 22) == HOST_UNREACHABLE
