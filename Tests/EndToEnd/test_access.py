# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Several services behind one name, and which clients may use them."""

import base64
import contextlib
import json
import os
import queue
import signal
import socket
import threading
import time
import uuid

import pytest
from nostr_sdk import Keys, Nip44Version, PublicKey, nip44_decrypt, nip44_encrypt

from backends import TCPBackend, echo, read_exactly
from nostr_wire import RelayConnection, session_offer, signed
from plain_nip74 import KIND
from processes import eventually
from programs import needed
from raw_socks import HOST_UNREACHABLE, NOT_ALLOWED, REFUSED, SUCCEEDED, open_stream, reply_to


def service_exit(sandbox, relay, *options, backend=None, **settings):
    return sandbox.exit([relay.url], backend, options=options, **settings)


def reply(entry, exit_node, port):
    """Returns the SOCKS reply code for a port of the exit."""
    return reply_to(entry.address, exit_node.name, port)


@pytest.fixture
def echoing(sandbox):
    return sandbox.closing(TCPBackend(echo))


def identity(sandbox, name):
    npub = sandbox.succeed("key", "generate", "--key-file", name)[1]
    return npub.removeprefix("npub: ")


def test_services_by_port(sandbox, echoing, http):
    relay = sandbox.relay()
    exit_node = service_exit(sandbox, relay, "--service", f"22={echoing.address}", f"80={http.address}")
    entry = sandbox.entry()
    assert reply(entry, exit_node, 22) == SUCCEEDED
    assert reply(entry, exit_node, 80) == SUCCEEDED
    assert reply(entry, exit_node, 23) == NOT_ALLOWED


def test_a_unix_socket_is_a_backend(sandbox):
    path = sandbox.folder / "service.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    listener.settimeout(20)
    sandbox.closing(listener)
    relay = sandbox.relay()
    exit_node = service_exit(sandbox, relay, "--service", f"80=unix:{path}", f"81=unix:{path}.not")
    entry = sandbox.entry()
    client = open_stream(entry.address, exit_node.name, 80).socket
    accepted, _ = listener.accept()
    accepted.sendall(b"from the socket")
    assert client.recv(100) == b"from the socket"
    assert reply(entry, exit_node, 81) == REFUSED


def test_only_authorized_keys_get_in_and_only_where_they_may(sandbox, echoing):
    mine, other = identity(sandbox, "mine"), identity(sandbox, "other")
    sandbox.succeed("key", "authorize", "keys", mine, "--services", "22,80", "--comment", "me")
    relay = sandbox.relay()
    exit_node = service_exit(
        sandbox, relay, "--service", f"22={echoing.address}", f"23={echoing.address}", "--allow", "keys"
    )
    # An npub given directly to --allow may use all services.
    other_exit = service_exit(
        sandbox, relay, "--service", f"23={echoing.address}", "--allow", other, key_file="second.key"
    )
    me = sandbox.entry("--identity", "mine")
    assert [reply(me, exit_node, port) for port in (22, 23, 99)] == [SUCCEEDED, NOT_ALLOWED, NOT_ALLOWED]
    # Strangers get no answer. With plain NIP-74 as a fallback, their streams would appear open.
    stranger = sandbox.entry("--identity", "other", "--protocol", "session", env={"HOME": str(sandbox.folder / "a")})
    assert reply(stranger, exit_node, 22) == HOST_UNREACHABLE
    stranger.process.wait_for_log("this device is not authorized")
    anonymous = sandbox.entry("--protocol", "session", env={"HOME": str(sandbox.folder / "b")})
    assert reply(anonymous, exit_node, 22) == HOST_UNREACHABLE
    assert reply(stranger, other_exit, 23) == SUCCEEDED
    eventually(lambda: echoing.connections == 2)


def test_a_late_acceptance_ends_streams_that_fell_back_to_plain(sandbox, echoing):
    sandbox.succeed("key", "authorize", "keys", identity(sandbox, "mine"))
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url], echoing.address, options=("--allow", "keys"))
    entry = sandbox.entry("--identity", "mine")
    exit_node.process.send(signal.SIGSTOP)
    client = open_stream(entry.address, exit_node.name, 80).socket
    entry.process.wait_for_log("using plain NIP-74 with it")
    # The exit answers the offer only now. It ignores plain NIP-74, so the stream must not wait for that.
    exit_node.process.send(signal.SIGCONT)
    client.settimeout(20)
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert reply(entry, exit_node, 80) == SUCCEEDED
    assert echoing.connections == 1


def test_an_exit_with_a_list_sends_strangers_nothing(sandbox, echoing):
    sandbox.succeed("key", "authorize", "keys", identity(sandbox, "mine"))
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url], echoing.address, options=("--allow", "keys"))
    # An exit without a list answers the same messages.
    open_exit = sandbox.exit([relay.url], echoing.address, key_file="open.key")
    stranger, probe = Keys.generate(), Keys.generate()
    with RelayConnection(relay.url) as observer:
        observer.subscribe("probe", {"kinds": [KIND], "#p": [probe.public_key().to_hex()]})
        for offer in offers(open_exit.name, 2):
            observer.accepts(sealed(probe, open_exit.pubkey, offer))
            observer.next_event("probe")
        observer.subscribe("all", {"kinds": [KIND], "#p": [stranger.public_key().to_hex()]})
        for offer in offers(exit_node.name, 8):
            observer.accepts(sealed(stranger, exit_node.pubkey, offer))
        # The exit handles messages in order, so it has ignored these when it has answered a listed client.
        entry = sandbox.entry("--identity", "mine")
        assert reply(entry, exit_node, 80) == SUCCEEDED
        observer.subscribe("barrier", {"limit": 0})
        with pytest.raises(TimeoutError):
            observer.receive(("EVENT", "all"), timeout=0)
    exit_node.process.wait_for_log("message without a proof of an authorized device ignored")
    eventually(lambda: echoing.connections == 1)


def test_a_later_version_is_refused_and_not_dialled(sandbox, echoing):
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url], echoing.address)
    probe = Keys.generate()
    with RelayConnection(relay.url) as observer:
        observer.subscribe("probe", {"kinds": [KIND], "#p": [probe.public_key().to_hex()]})
        message = {"key": str(uuid.uuid4()), "type": "CONNECT", "destination": exit_node.name}
        later = message | {"nws": session_offer(version=2)}
        observer.accepts(sealed(probe, exit_node.pubkey, json.dumps(later)))
        observer.next_event("probe")
        # An offer that is none is not dialled either, and not answered.
        broken = message | {"key": str(uuid.uuid4()), "nws": {"versions": [1]}}
        observer.accepts(sealed(probe, exit_node.pubkey, json.dumps(broken)))
        # A plain CONNECT is dialled.
        assert reply(sandbox.entry("--protocol", "nip74"), exit_node, 80) == SUCCEEDED
    eventually(lambda: echoing.connections == 1)


def test_a_returning_client_uses_a_ticket(sandbox, echoing):
    sandbox.succeed("key", "authorize", "keys", identity(sandbox, "mine"))
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url], echoing.address, options=("--allow", "keys"))
    secret = Keys.parse((sandbox.folder / "exit.key").read_text().strip()).secret_key()
    with RelayConnection(relay.url) as observer:
        observer.subscribe("offers", {"kinds": [KIND], "#p": [exit_node.pubkey], "limit": 0})

        def kinds_of_proofs():
            event = observer.next_event("offers")
            text = nip44_decrypt(secret, PublicKey.parse(event["pubkey"]), event["content"])
            return base64.b64decode(json.loads(text)["nws"])[-49]

        for kind in (1, 2, 2):
            entry = sandbox.entry("--identity", "mine")
            assert reply(entry, exit_node, 80) == SUCCEEDED
            assert kinds_of_proofs() == kind
            # The exit has sent a ticket for the next session.
            eventually(lambda: len(list(sandbox.home.rglob("tickets/*/*-*"))) == 1)
            entry.process.kill()


def test_the_audit_log_says_who_used_what(sandbox, echoing):
    npub = identity(sandbox, "mine")
    sandbox.succeed("key", "authorize", "keys", npub, "--comment", 'my "laptop"')
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url], echoing.address, options=("--allow", "keys", "--audit-log", "audit"))
    entry = sandbox.entry("--identity", "mine")
    with open_stream(entry.address, exit_node.name, 80) as client:
        client.socket.sendall(b"12345")
        assert read_exactly(client.socket, 5) == b"12345"
    log = sandbox.folder / "audit"
    lines = eventually(lambda: log.read_text().splitlines())
    stream = json.loads(lines[0])
    assert stream["event"] == "stream" and stream["identity"] == npub and stream["name"] == 'my "laptop"'
    assert stream["service"] == "80" and stream["sent"] == stream["received"] == 5
    assert log.stat().st_mode & 0o777 == 0o600
    # A program that rotates logs renames the file and sends SIGHUP.
    log.rename(sandbox.folder / "audit.1")
    exit_node.process.send(signal.SIGHUP)
    exit_node.process.wait_for_log("configuration reloaded")
    entry.process.send(signal.SIGTERM)
    session = json.loads(eventually(lambda: log.exists() and log.read_text().splitlines())[0])
    assert session["event"] == "session" and session["client"] == stream["client"] and session["identity"] == npub


def test_a_service_learns_who_its_client_is(sandbox, serve):
    npub = identity(sandbox, "mine")
    sandbox.succeed("key", "authorize", "keys", npub, "--comment", "laptop")
    received = queue.Queue()

    def backend(connection):
        header = read_exactly(connection, 16)
        fields = read_exactly(connection, int.from_bytes(header[14:]))
        received.put((header, fields, read_exactly(connection, 5)))
        connection.sendall(b"done")

    service = serve(backend)
    relay = sandbox.relay()
    options = ("--allow", "keys", "--service", f"80={service.address},proxy-protocol", f"81={service.address}")
    exit_node = sandbox.exit([relay.url], None, options=options)
    with open_stream(sandbox.entry("--identity", "mine").address, exit_node.name, 80) as client:
        client.socket.sendall(b"hello")
        assert read_exactly(client.socket, 4) == b"done"
    header, fields, data = received.get(timeout=10)
    assert header[:14] == b"\r\n\r\n\0\r\nQUIT\n\x21\x00" and data == b"hello"
    values = {}
    while fields:
        length = int.from_bytes(fields[1:3])
        values[fields[0]], fields = fields[3 : 3 + length], fields[3 + length :]
    assert values[0xE0] == npub.encode() and values[0xE1] == b"laptop" and len(values[5]) == 32


def sealed(keys, receiver, plaintext):
    """Returns a message of NIP-74."""
    content = nip44_encrypt(keys.secret_key(), PublicKey.parse(receiver), plaintext, Nip44Version.V2)
    return signed(keys, KIND, content, [["p", receiver]])


def offers(name, count):
    """Returns messages that an exit without a list would answer: offers with no proof and with wrong ones."""
    dates = [int(time.time()), -(2**63), 2**63 - 1, 0]
    for number in range(count):
        proof = bytes([1]) + dates[number // 2 % len(dates)].to_bytes(8, signed=True) + os.urandom(40)
        nws = session_offer(proof=proof if number % 2 else b"")
        message = {"key": str(uuid.uuid4()), "type": "CONNECT", "destination": name, "nws": nws}
        yield json.dumps(message, separators=(",", ":"))


@contextlib.contextmanager
def flood_of_fresh_keys(exit_node, urls):
    """Sends each relay 300 offers a second for the exit, each from a new key."""
    ended = threading.Event()

    def flood(url):
        with RelayConnection(url) as relay:
            while not ended.wait(0.2):
                for offer in offers(exit_node.name, 60):
                    relay.send("EVENT", sealed(Keys.generate(), exit_node.pubkey, offer))

    threads = [threading.Thread(target=flood, args=(url,)) for url in urls]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("relays", [1, 4])
def test_a_flood_of_fresh_keys_does_not_lock_out_a_listed_client(sandbox, echoing, relays):
    """At ten times the rate of messages that the exit decrypts."""
    sandbox.succeed("key", "authorize", "keys", identity(sandbox, "mine"))
    urls = [sandbox.relay().url for _ in range(relays)]
    options = ("--allow", "keys", "--max-handshakes-per-second", "4")
    exit_node = sandbox.exit(urls, echoing.address, options=options)
    with flood_of_fresh_keys(exit_node, urls):
        # The exit decrypts 28 a second, and has now used up its burst.
        exit_node.process.wait_for_log("limit reached")
        for number in range(12):
            home = {"HOME": str(sandbox.folder / str(number))}
            entry = sandbox.entry("--identity", "mine", "--protocol", "session", env=home)
            started = time.monotonic()
            assert reply(entry, exit_node, 80) == SUCCEEDED
            assert time.monotonic() - started < 5
            entry.process.kill()


@pytest.mark.parametrize("relays", [1, 4])
def test_a_flood_of_fresh_keys_does_not_lock_out_a_new_client(sandbox, echoing, relays):
    """The exit has no list. It prefers messages with proof of work when the limit is reached."""
    urls = [sandbox.relay().url for _ in range(relays)]
    exit_node = sandbox.exit(urls, echoing.address, options=("--max-handshakes-per-second", "30"))
    with flood_of_fresh_keys(exit_node, urls):
        exit_node.process.wait_for_log("limit reached")
        for number in range(10):
            home = {"HOME": str(sandbox.folder / str(number))}
            entry = sandbox.entry("--protocol", "session", env=home)
            started = time.monotonic()
            assert reply(entry, exit_node, 80) == SUCCEEDED
            assert time.monotonic() - started < 10
            entry.process.kill()


def test_an_identity_is_used_with_the_credentials_that_every_client_must_send(sandbox, http):
    sandbox.succeed("key", "authorize", "keys", identity(sandbox, "mine"))
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url], http.address, options=("--allow", "keys"))
    sandbox.write("credentials", "me:secret\n")
    entry = sandbox.entry("--identity", "mine", "--credentials-file", "credentials")
    url = f"http://{exit_node.name}/bytes/10"
    curl = sandbox.spawn(needed("curl"), "-sS", "--max-time", 20, "--proxy", f"http://me:secret@{entry.socks}", url)
    assert curl.wait() == 0, curl.describe()


def test_plain_nip74_does_not_bypass_the_list(sandbox, echoing):
    sandbox.succeed("key", "authorize", "keys", identity(sandbox, "mine"))
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url], echoing.address, options=("--allow", "keys"))
    plain = sandbox.entry("--protocol", "nip74")
    # Plain NIP-74 cannot express a refusal: the stream appears open, but is not connected to the backend.
    client = open_stream(plain.address, exit_node.name).socket
    client.sendall(b"is anybody there")
    exit_node.process.wait_for_log("message without a proof of an authorized device ignored")
    assert echoing.connections == 0


def test_the_list_is_read_again_and_what_is_gone_ends(sandbox, echoing):
    mine = identity(sandbox, "mine")
    keys = sandbox.write("keys", "# nobody\n")
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url], echoing.address, options=("--allow", "keys"))
    entry = sandbox.entry("--identity", "mine", "--protocol", "session")
    assert reply(entry, exit_node, 80) == HOST_UNREACHABLE
    sandbox.succeed("key", "authorize", "keys", mine)
    exit_node.process.wait_for_log("configuration reloaded")
    client = open_stream(entry.address, exit_node.name, 80).socket
    client.sendall(b"hello")
    assert read_exactly(client, 5) == b"hello"
    # A list that is invalid changes nothing.
    keys.write_text("nonsense\n")
    exit_node.process.wait_for_log("keeping the previous configuration")
    client.sendall(b"still")
    assert read_exactly(client, 5) == b"still"
    keys.write_text("# nobody again\n")
    client.settimeout(20)
    with pytest.raises(ConnectionResetError):
        client.recv(5)
    # Unlike a stranger, a client that was removed learns why.
    assert reply(entry, exit_node, 80) == NOT_ALLOWED


def test_a_list_that_comes_later_ends_everybody(sandbox, echoing):
    relay = sandbox.relay()
    config = sandbox.write("exit.yaml", "stream-idle-timeout: 0\n")
    exit_node = sandbox.exit([relay.url], echoing.address, options=("--config", str(config)))
    entry = sandbox.entry()
    client = open_stream(entry.address, exit_node.name, 80).socket
    client.sendall(b"hello")
    assert read_exactly(client, 5) == b"hello"
    sandbox.write("keys", "# nobody\n")
    config.write_text("allow: [keys]\n")
    client.settimeout(20)
    with pytest.raises(ConnectionResetError):
        client.recv(5)
    assert reply(entry, exit_node, 80) == HOST_UNREACHABLE
