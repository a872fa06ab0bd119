# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""A temporary folder and the processes that a test starts in it."""

import os
import re
import socket
import sys
from pathlib import Path

from nostr_sdk import Keys, NostrSdkError

from processes import Process

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
BINARY = Path(os.environ.get("NWS_BINARY") or REPOSITORY / ".build-test/release/nws").resolve()
NSEC = "nsec1[a-z0-9]{58}"


class Relay:
    def __init__(self, process):
        self.process = process
        self.url = process.value("relay")

    @property
    def address(self):
        """HOST:PORT"""
        return self.url.removeprefix("ws://").rstrip("/")


class Exit:
    def __init__(self, process):
        self.process = process
        self.pubkey = process.value("pubkey")
        self.npub = process.value("npub")
        self.name = process.value("name")
        self.nprofile = process.value("nprofile")


class Entry:
    def __init__(self, process):
        self.process = process
        self.socks = process.value("socks")
        host, port = self.socks.rsplit(":", 1)
        self.address = (host.strip("[]"), int(port))


class Sandbox:
    """Starts programs in a temporary folder, with a minimal environment."""

    def __init__(self, folder):
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        self.environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.home),
            "TMPDIR": str(folder),
            "LC_ALL": "C.UTF-8",
        }
        for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"):
            if name in os.environ:
                self.environment[name] = os.environ[name]
        self.processes = []
        self.closers = []
        self.exits = []
        self.secrets = set()

    # Processes

    def spawn(self, *arguments, env=None, cwd=None, shows_secret=False):
        """Starts any program."""
        environment = {**self.environment, **(env or {})}
        process = Process(arguments, cwd or self.folder, environment, shows_secret)
        self.processes.append(process)
        return process

    def nws(self, *arguments, **options):
        """Starts nws."""
        return self.spawn(BINARY, *arguments, **options)

    def finished(self, *arguments, **options):
        """Runs nws until it ends; returns the process and its exit status."""
        process = self.nws(*arguments, **options)
        return process, process.wait()

    def succeed(self, *arguments, **options):
        """Runs nws until it ends, which must be with status 0; returns the lines of standard output."""
        process, status = self.finished(*arguments, **options)
        assert status == 0, process.describe()
        return process.stdout

    # Roles

    def relay(self, *options, listen="127.0.0.1:0"):
        return Relay(self.nws("relay", "--listen", listen, *options))

    def rust_relay(self):
        return Relay(self.spawn(sys.executable, HERE / "rust_relay.py"))

    def starting_exit(self, relays, backend="127.0.0.1:9", key_file="exit.key", options=(), **settings):
        """Starts an exit without waiting until it is ready."""
        arguments = [argument for relay in relays for argument in ("--relay", relay)]
        if backend:
            arguments += ["--backend", backend]
        if key_file:
            arguments += ["--key-file", key_file]
        return self.nws("exit", *arguments, *options, **settings)

    def exit(self, relays, backend="127.0.0.1:9", **options):
        started = Exit(self.starting_exit(relays, backend, **options))
        self.exits.append(started.npub)
        return started

    def entry(self, *options, relays=(), listen="127.0.0.1:0", **settings):
        arguments = [argument for relay in relays for argument in ("--relay", relay)]
        if "--identity" in options and "--identity-for" not in options:
            # The user names all exits of the test.
            options = (*options, "--identity-for", *dict.fromkeys(self.exits))
        # The relays of the tests are on loopback.
        return Entry(self.nws("entry", "--listen", listen, "--allow-local-relays", *arguments, *options, **settings))

    def tunnel(self, backend, *entry_options):
        """Starts a relay, an exit with the backend, and an entry."""
        relay = self.relay()
        return relay, self.exit([relay.url], backend), self.entry(*entry_options)

    # Files, keys and resources

    def write(self, name, text, mode=0o600):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def keys(self):
        """Returns new keys; no process may print their secret key."""
        keys = Keys.generate()
        self.secrets.add(keys.secret_key().to_hex())
        return keys

    def closing(self, resource):
        """Registers a resource to be closed with the sandbox; returns it."""
        self.closers.append(resource.close)
        return resource

    # Cleanup

    def close(self):
        for process in reversed(self.processes):
            process.kill()
        for close in reversed(self.closers):
            close()

    def leaked_secrets(self):
        """Returns the command lines of processes that printed a secret key of the test or of a file in the folder."""
        forms = set()
        for secret in self.secrets | self._secrets_in_files():
            try:
                key = Keys.parse(secret).secret_key()
            except NostrSdkError:
                forms.add(secret)
            else:
                forms |= {key.to_hex(), key.to_bech32()}
        return [
            process.arguments
            for process in self.processes
            if not process.shows_secret
            if any(form in process.output.lower() for form in forms) or re.search(NSEC, process.output, re.IGNORECASE)
        ]

    def _secrets_in_files(self):
        found = set()
        for path in self.folder.rglob("*"):
            if path.is_file() and path.stat().st_size < 100:
                text = path.read_bytes().decode("utf-8", "replace").strip()
                if re.fullmatch(NSEC + "|[0-9a-f]{64}", text):
                    found.add(text)
        return found


def unused_port():
    """Returns a loopback port on which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
