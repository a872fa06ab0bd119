# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Attacks of strangers, of exits and of web pages, each against the program itself."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import threading
import time

import pytest
from nostr_sdk import Keys
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve as serve_websocket

from backends import TCPBackend, content, echo, read_exactly, sha256
from independent.client import Handshake, NoAnswer, Refused, connect
from independent.crypto import Key
from independent.exit import Exit
from independent.handshake import CONNECTION_RESET, NOT_ALLOWED, UNSUPPORTED_VERSION, Credential
from independent.streams import StreamReset
from independent.wire import NewPath, StreamData, encode_frame
from nostr_wire import RelayConnection, signed, signed_by_hand
from plain_nip74 import KIND
from processes import eventually
from raw_socks import NOT_ALLOWED as SOCKS_NOT_ALLOWED
from raw_socks import SUCCEEDED, SocksClient, open_stream, reply_to
from sandbox import BINARY, Entry, unused_port
from test_access import identity, offers, sealed
from test_independent import allowed_client, own_exit, private_exit, public_key
from test_proxy import curl, talk

MEGABYTE = 1 << 20
REVOKED, EXPIRED = 23, 24


# An exit


@contextlib.contextmanager
def sessions_that_open_nothing(node, urls, count):
    """Begins sessions, each with a new key. They stay alive and send data of streams that they do not open."""
    with contextlib.ExitStack() as stack:
        for number in range(count):
            try:
                session = connect(public_key(node), urls)
            except (NoAnswer, Refused):
                continue
            stack.callback(session.close)
            data = encode_frame(StreamData(1, 0, bytes(30_000), False))
            with session.changed:
                if not session.is_closed:
                    session.send_encoded(next(iter(session.paths.values())), data)
        yield


def test_sessions_that_open_no_stream_lock_nobody_out_and_hold_no_memory(sandbox, serve):
    relay = sandbox.relay()
    node = sandbox.exit([relay.url], serve(echo).address, options=("--max-sessions", "16"))
    before = node.process.memory()
    with sessions_that_open_nothing(node, [relay.url], 40):
        for _ in range(3):
            entry = sandbox.entry("--protocol", "session", env={"HOME": str(sandbox.folder / str(time.monotonic()))})
            started = time.monotonic()
            assert reply_to(entry.address, node.name) == SUCCEEDED
            assert time.monotonic() - started < 10
            entry.process.kill()
        if before is not None:
            assert node.process.memory() - before < 32 * MEGABYTE


def test_one_offer_is_answered_once_on_the_relay_by_which_it_came(sandbox):
    relays = [sandbox.relay() for _ in range(4)]
    node = sandbox.exit([relay.url for relay in relays])
    client = Keys.generate()
    (offer,) = offers(node.name, 1)
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(RelayConnection(relay.url)) for relay in relays]
        for connection in connections:
            connection.subscribe("answers", {"kinds": [KIND], "#p": [client.public_key().to_hex()]})

            def reaches_exit(connection=connection):
                _, text = connection.publish(sealed(Keys.generate(), node.pubkey, *offers(node.name, 1)))
                return not text.startswith("mute:")

            # The exit is ready when it has subscribed at one of its relays.
            eventually(reaches_exit)

        def answers():
            """Numbers of the relays that have delivered answers since the last call, once the exit answers others."""
            probe, counts = Keys.generate(), []
            for connection in connections:
                connection.subscribe("probe", {"kinds": [KIND], "#p": [probe.public_key().to_hex()]})
            connections[0].accepts(sealed(probe, node.pubkey, *offers(node.name, 1)))
            connections[0].next_event("probe")
            time.sleep(0.5)
            for number, connection in enumerate(connections):
                with contextlib.suppress(TimeoutError):
                    while connection.receive(("EVENT", "answers"), timeout=0):
                        counts.append(number)
            return counts

        event = sealed(client, node.pubkey, offer)
        connections[2].accepts(event)
        connections[2].receive(("EVENT", "answers"))
        for connection in connections:
            # Copies of the event on all relays have no effect.
            connection.publish(event)
        assert answers() == []
        # A repetition by the client, which is another event, is answered on two relays.
        connections[2].accepts(sealed(client, node.pubkey, offer))
        assert len(answers()) <= 2


def test_a_stranger_cannot_make_the_exit_connect_as_often_as_it_likes(sandbox, serve):
    backend = serve(lambda connection: None)
    relay = sandbox.relay()
    node = sandbox.exit([relay.url], backend.address, options=("--max-streams-per-second", "20"))
    session = sandbox.closing(connect(public_key(node), [relay.url]))
    streams = [session.open(80, wait=False) for _ in range(200)]
    session.wait_for(lambda: sum(stream.error is not None for stream in streams) > 150)
    # Two a second for a client without an identity, ten at once.
    assert 10 <= backend.connections <= 30
    assert len([line for line in node.process.stderr.splitlines() if "stream" in line]) < 150


def test_a_public_exit_dials_no_name_outside_of_the_grammar(sandbox, serve):
    backend = serve(echo)
    port = int(backend.address.rsplit(":", 1)[1])
    relay = sandbox.relay()
    node = sandbox.exit([relay.url], None, options=("--public", "--rule", "allow cidr 127.0.0.0/8"))
    session = sandbox.closing(connect(public_key(node), [relay.url]))
    assert session.open(port, "127.0.0.1").error is None
    for host in ("127.1", "0x7f.1", "2130706433", "localhost\0.example.org", "local host", "-x.localhost", "a" * 300):
        with pytest.raises(StreamReset) as raised:
            session.open(port, host)
        assert raised.value.code == NOT_ALLOWED, host
    assert backend.connections == 1


def test_a_private_exit_connects_nobody_to_its_service_by_another_address(sandbox, serve):
    backend = serve(echo)
    relay = sandbox.relay()
    node = sandbox.exit([relay.url], backend.address)
    entry = sandbox.entry("--exit", node.name)
    host, port = backend.address.split(":")
    assert reply_to(entry.address, host, int(port)) == SOCKS_NOT_ALLOWED
    assert reply_to(entry.address, "example.org", 80) == SOCKS_NOT_ALLOWED
    assert backend.connections == 0


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("nsenter") or not shutil.which("ip"), reason="needs root, nsenter and ip"
)
def test_a_public_exit_does_not_reach_its_own_public_address(sandbox):
    """A firewall would protect the machine's services from others, but not from the exit."""
    network = sandbox.spawn("unshare", "--net", "sleep", "1000")
    inside = ("nsenter", "--net", "--target", str(network.pid), "--")
    eventually(lambda: os.readlink(f"/proc/{network.pid}/ns/net") != os.readlink("/proc/self/ns/net"))
    for command in ("ip link set lo up", "ip addr add 11.1.2.3/32 dev lo"):
        assert sandbox.spawn(*inside, *command.split()).wait() == 0
    sandbox.write("page", "secret of the machine")
    sandbox.spawn(*inside, "python3", "-m", "http.server", "8080", "--bind", "0.0.0.0")
    relay = sandbox.spawn(*inside, BINARY, "relay", "--listen", "127.0.0.1:7000")
    relay.value("relay")
    exit_options = ("--key-file", "k", "--relay", "ws://127.0.0.1:7000", "--rule", "allow port 1-65535")
    exit_process = sandbox.spawn(*inside, BINARY, "exit", "--public", *exit_options)
    entry = sandbox.spawn(
        *inside, BINARY, "entry", "--listen", "127.0.0.1:7001", "--allow-local-relays", "--exit", exit_process.value("name")
    )
    entry.value("socks")

    def page(*options):
        process = sandbox.spawn(*inside, "curl", "-sS", "--max-time", "20", *options, "http://11.1.2.3:8080/page")
        process.wait()
        return process.output

    eventually(lambda: "secret" in page())
    refused = page("--socks5-hostname", "127.0.0.1:7001")
    assert "secret" not in refused and "(2)" in refused, refused


def test_clients_that_may_not_or_no_longer_enter_learn_why_only_if_they_were_known(sandbox, serve):
    listed, file = allowed_client(sandbox)
    expired = sandbox.keys()
    with open(file, "a") as text:
        text.write(f'expires="2020-01-31" {expired.public_key().to_bech32()}\n')
    relay = sandbox.relay()
    node = private_exit(sandbox, relay, serve(echo).address, file)
    exit_public = public_key(node)

    def refusal(key, **options):
        with pytest.raises(Refused) as raised:
            connect_with(key, **options)
        return raised.value.code

    def connect_with(key, **options):
        credential = Credential.of_identity(key, exit_public)
        return Handshake(exit_public, [relay.url], credential, **options).session_or_refusal(5)

    connect_with(listed).close()
    assert refusal(Key(bytes.fromhex(expired.secret_key().to_hex()))) == EXPIRED
    # An offer of a later version is refused if its proof is valid, and otherwise ignored.
    assert refusal(listed, bodies={2: b"later"}) == UNSUPPORTED_VERSION
    for key, options in ((Key(), {}), (Key(), {"bodies": {2: b"later"}})):
        with pytest.raises(NoAnswer):
            connect_with(key, **options)
    file.write_text(f'expires="2020-01-31" {expired.public_key().to_bech32()}\n')
    node.process.wait_for_log("reloaded")
    assert refusal(listed) == REVOKED
    node.process.kill()
    private_exit(sandbox, relay, serve(echo).address, file)
    assert refusal(listed) == REVOKED


def test_strangers_cannot_fill_the_audit_log(sandbox, serve):
    relay = sandbox.relay()
    options = ("--audit-log", "audit", "--max-streams-per-second", "100000")
    node = sandbox.exit([relay.url], serve(lambda connection: None).address, options=options)
    session = sandbox.closing(connect(public_key(node), [relay.url]))
    for _ in range(4):
        streams = [session.open(80, wait=False) for _ in range(200)]
        for stream in streams:
            stream.reset(CONNECTION_RESET)
        session.wait_for(lambda: not session.streams)
    node.process.send(15)
    node.process.wait()
    events = [json.loads(line)["event"] for line in (sandbox.folder / "audit").read_text().splitlines()]
    assert 100 < len(events) < 400
    assert "left-out" in events


def with_work(keys, receiver, content, bits):
    """Returns an event with proof of work (NIP-13)."""
    date, author = int(time.time()), keys.public_key().to_hex()
    for nonce in range(1 << (bits + 6)):
        tags = [["p", receiver], ["nonce", str(nonce), str(bits)]]
        text = json.dumps([0, author, date, KIND, tags, content], separators=(",", ":"))
        if int.from_bytes(hashlib.sha256(text.encode()).digest()) >> (256 - bits) == 0:
            return signed_by_hand(keys, KIND, content, tags, date)
    raise AssertionError("no nonce was found")


@pytest.mark.parametrize("is_listed", [True, False])
def test_copies_of_one_message_with_much_work_lock_nobody_out(sandbox, serve, is_listed):
    options = ("--max-handshakes-per-second", "4")
    if is_listed:
        sandbox.succeed("key", "authorize", "keys", identity(sandbox, "mine"))
        options += ("--allow", "keys")
    relay = sandbox.relay()
    node = sandbox.exit([relay.url], serve(echo).address, options=options)
    event = with_work(sandbox.keys(), node.pubkey, "garbage" * 10, 16)
    frame = json.dumps(["EVENT", event], separators=(",", ":"))
    ended = threading.Event()

    def flood():
        with RelayConnection(relay.url) as raw:
            # Use up the burst first.
            for _ in range(150):
                raw.send("EVENT", sealed(Keys.generate(), node.pubkey, "garbage"))
            while not ended.wait(0.05):
                for _ in range(20):
                    raw.socket.send(frame)

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        node.process.wait_for_log("limit reached")
        for number in range(4):
            home = {"HOME": str(sandbox.folder / str(number))}
            entry = sandbox.entry(*(("--identity", "mine") if is_listed else ()), "--protocol", "session", env=home)
            started = time.monotonic()
            assert reply_to(entry.address, node.name) == SUCCEEDED
            assert time.monotonic() - started < 5
            entry.process.kill()
    finally:
        ended.set()
        thread.join()


# An entry


def strict_entry(sandbox, *options):
    """An entry that may use relays on loopback only if they are given."""
    return Entry(sandbox.nws("entry", "--listen", "127.0.0.1:0", "--protocol", "session", *options))


def test_an_exit_cannot_steer_an_entry_to_services_on_loopback(sandbox, serve):
    victim = serve(lambda connection: None)
    relay, backend = sandbox.relay(), serve(echo)
    node = own_exit(sandbox, relay, backend)
    entry = strict_entry(sandbox, "--relay", relay.url)
    npub_host = node.name.split(".")[-2] + ".nostr"
    victim_url = f"ws://{victim.address}/?query"
    # In the acceptance
    node.urls = [relay.url, victim_url, victim_url.replace("127.0.0.1", "localhost"), victim_url.replace("?query", "")]
    with open_stream(entry.address, npub_host) as client:
        # In NEW_PATH
        (session,) = node.sessions
        with session.changed:
            session.send(NewPath(9, victim_url.replace("127.0.0.1", "[::ffff:127.0.0.1]")))
            session.send(NewPath(10, victim_url.replace("127.0.0.1", "0.0.0.0")))
        client.socket.sendall(b"still there")
        assert read_exactly(client.socket, 11) == b"still there"
    # In a relay list
    with RelayConnection(relay.url) as raw:
        keys = Keys.parse(Key().secret.hex())
        raw.accepts(signed(keys, 10002, tags=[["r", victim_url]]))
        listed = keys.public_key().to_bech32() + ".nostr"
        assert reply_to(entry.address, listed) != SUCCEEDED
    # In a name
    node.urls = [victim_url]
    assert reply_to(entry.address, node.name) != SUCCEEDED
    assert victim.connections == 0


def test_isolated_requests_do_not_carry_the_identity(sandbox, serve):
    key, keys = Key(), sandbox.keys()
    file = sandbox.write("identity.key", keys.secret_key().to_hex())
    relay = sandbox.relay()
    credential = Credential.of_client(key, bytes.fromhex(keys.public_key().to_hex()))
    node = own_exit(sandbox, relay, serve(echo), key=key, credentials=[credential])
    node.is_private = False
    npub = Keys.parse(key.secret.hex()).public_key().to_bech32()
    entry = sandbox.entry("--protocol", "session", "--identity", file, "--identity-for", npub)
    with SocksClient(entry.address) as client:
        assert client.greet(b"\x02") == 2 and client.authenticate(b"other", b"tab") == 0
        client.request(node.name)
    assert [offer.proof for offer in node.offers] == [b""]
    with open_stream(entry.address, node.name):
        assert len(node.offers) == 2 and node.offers[1].proof


@pytest.mark.parametrize("field", ["Origin: http://evil.example", "Sec-Fetch-Site: cross-site"])
def test_a_page_of_another_site_cannot_use_the_proxy(sandbox, field):
    backend = sandbox.closing(TCPBackend(lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")))
    _, node, entry = sandbox.tunnel(backend.address)
    url = f"http://{node.name}/"
    _, printed, _ = curl(sandbox, "--proxy", entry.socks, "-X", "POST", "-H", field, "-d", "x=1", url)
    assert printed == ["403"] and backend.connections == 0
    # Links keep working.
    fields = ("-H", "Sec-Fetch-Site: cross-site", "-H", "Sec-Fetch-Mode: navigate", "-H", "Sec-Fetch-Dest: document")
    _, printed, _ = curl(sandbox, "--proxy", entry.socks, *fields, url)
    assert printed == ["200"] and backend.connections == 1


def test_an_upgrade_request_with_a_body_is_refused(sandbox):
    relay = sandbox.relay()
    host, port = relay.address.rsplit(":", 1)
    fields = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: " + "A" * 22 + "==", "Sec-WebSocket-Version: 13")
    for body in ("Content-Length: 5", "Transfer-Encoding: chunked"):
        with socket.create_connection((host, int(port)), 10) as connection:
            connection.sendall("\r\n".join(["GET / HTTP/1.1", "Host: x", *fields, body, "", ""]).encode())
            connection.sendall(b"5\r\nhello\r\n0\r\n\r\n" if "chunked" in body else b"hello")
            assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_a_failure_page_shows_nothing_that_a_relay_wrote_as_it_is(sandbox):
    # A character before `<` that combines with it would hide it from a search by characters.
    evil = "blocked: \u0600<script>alert(1)</script>"

    def refuse(connection):
        with contextlib.suppress(ConnectionClosed):
            for message in connection:
                kind, name, *_ = json.loads(message)
                answer = ["CLOSED", name, evil] if kind == "REQ" else ["OK", name["id"], False, evil] if kind == "EVENT" else None
                if answer:
                    connection.send(json.dumps(answer))

    with serve_websocket(refuse, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        name = sandbox.succeed("name", "encode", Keys.generate().public_key().to_bech32(), "--relay", url)[0].split(": ")[-1]
        entry = sandbox.entry()
        page = talk(entry.address, f"GET http://{name}/ HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
    head, _, body = page.partition(b"\r\n\r\n")
    assert b"<script" not in body and b" 50" in head.splitlines()[0], page
    policy = re.search(rb"(?i)content-security-policy: (.*)", head)
    assert policy and b"sandbox" in policy[1], head


@pytest.mark.parametrize("text", ["", "npub1\n", "\0" * 100])
def test_an_entry_does_not_start_with_damaged_pins(sandbox, text):
    sandbox.write("home/.local/state/nws/exits", text)
    process, status = sandbox.finished("entry", "--listen", "127.0.0.1:0")
    assert status == 78 and "home/.local/state/nws/exits" in process.stderr, process.describe()


# A relay


def test_what_waits_for_a_slow_reader_is_all_that_is_kept(sandbox):
    """A message can be much larger than the event in it."""
    relay = sandbox.relay()
    with RelayConnection(relay.url) as reader, RelayConnection(relay.url) as writer:
        keys = sandbox.keys()
        author = keys.public_key().to_hex()
        reader.subscribe("all", {"kinds": [20_001], "authors": [author]})
        before = relay.process.memory()
        # More than the buffers of the connection hold, and less than the relay lets a reader fall behind.
        for number in range(3_000):
            event = json.dumps(signed(keys, 20_001, "x" * 7_000 + str(number)), separators=(",", ":"))
            writer.socket.send('["EVENT",' + event + " " * 120_000 + "]")
            if number % 100 == 99:
                writer.accepts(signed(keys, 20_001, "a barrier"))
        if before is not None:
            assert relay.process.memory() - before < 64 * MEGABYTE


def test_remembered_deletions_use_little_memory(sandbox):
    relay = sandbox.relay("--max-stored-events", "10")
    keys = sandbox.keys()
    author = keys.public_key().to_hex()
    with RelayConnection(relay.url) as writer:
        before = relay.process.memory()
        for number in range(600):
            address = f"30023:{author}:{number}" + "x" * 120_000
            writer.accepts(signed(keys, 5, tags=[["a", address]]))
        if before is not None:
            assert relay.process.memory() - before < 40 * MEGABYTE


def test_queries_that_wait_use_no_memory(sandbox):
    relay = sandbox.relay("--max-connections-per-address", "100")
    keys = sandbox.keys()
    with RelayConnection(relay.url) as writer:
        for number in range(3_000):
            writer.send("EVENT", signed(keys, 1, str(number)))
        writer.accepts(signed(keys, 1, "last"))
        before = relay.process.memory()
        with contextlib.ExitStack() as stack:
            hostile = [stack.enter_context(RelayConnection(relay.url)) for _ in range(8)]
            for number in range(190):
                for connection in hostile:
                    connection.send("REQ", str(number), {"kinds": [1], "#t": ["none"]})
                writer.send("EVENT", signed(keys, 1, f"another {number}"))
            writer.accepts(signed(keys, 1, "the last"))
            if before is not None:
                assert relay.process.memory() - before < 48 * MEGABYTE
            # A client that asks for little is answered at once.
            with RelayConnection(relay.url) as modest:
                started = time.monotonic()
                assert len(modest.subscribe("mine", {"kinds": [1], "limit": 5})) == 5
                assert time.monotonic() - started < 5
