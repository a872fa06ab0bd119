# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""The second implementation of sessions (independent/) against the test vectors, and against nws."""

import base64
import hashlib
import json
import os
import signal
import socket
import struct
import threading
import time
from dataclasses import replace

import pytest
from nostr_sdk import Keys, PublicKey

from backends import content, digest_after_end, echo, read_exactly, read_to_end, sha256
from independent.client import Handshake, Refused, connect
from independent.crypto import KEMKey, Key, decrypt, encrypt, is_signed, tagged_hash
from independent.direct import CHECKS, PACKETS, REQUEST, RESPONSE, check, header_key, opened, seal
from independent.enrolment import (
    Invite,
    Request,
    answer,
    enrolment_hash,
    read_answer,
    token_of,
    verifier_of,
)
from independent.exit import Exit
from independent.handshake import (
    CLIENT_UPDATE,
    CONNECTION_RESET,
    ENCAPSULATION_KEY,
    EXIT_UPDATE,
    IDENTITY,
    INVITE,
    MAX_PACKET,
    NOT_ALLOWED,
    PROTOCOL_VIOLATION,
    REFUSED,
    REPLAYED,
    REVOKED,
    TICKET,
    UNKNOWN_SESSION,
    UNSUPPORTED_VERSION,
    Acceptance,
    AcceptanceBody,
    Context,
    Credential,
    Generation,
    Limits,
    Offer,
    OfferBody,
    Opening,
    Refusal,
    Update,
    exit_hash,
    first_transcript,
    identity_hash,
    transcript_of,
)
from independent.session import DIRECT_PATH
from independent.streams import StreamReset
from independent.wire import (
    Ack,
    Candidates,
    ConnectionClose,
    Crypto,
    DuplicateKey,
    Identity,
    ImmediateAck,
    MaxData,
    MaxStreamData,
    NewConnectionID,
    NewPath,
    NewTicket,
    OpenStream,
    Ping,
    Reader,
    ResetStream,
    RetireConnectionID,
    StopSending,
    StreamData,
    StreamOpened,
    decode_frames,
    decode_packet,
    encode_frame,
    encode_packet,
    encode_parameters,
    varint,
)
from processes import TIMEOUT, eventually
from raw_socks import REFUSED as SOCKS_REFUSED
from raw_socks import open_stream, reply_to
from sandbox import REPOSITORY, unused_port
from test_devices import Home

# The test vectors

SIGNED_WITHOUT_RANDOMNESS = bytes(32)
TICKET_SECRET = bytes.fromhex("4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a")
FRAMES = {
    "PING": Ping(),
    "ACK path 2, delay 1234, packets 90-100, 5-80, 0-2": Ack(2, 1_234, [(90, 100), (5, 80), (0, 2)]),
    "RESET_STREAM stream 70, code 3, final size 20000": ResetStream(70, 3, 20_000),
    "STOP_SENDING stream 70, code 3": StopSending(70, 3),
    "CRYPTO offset 512, data 010203": Crypto(512, b"\1\2\3"),
    "STREAM stream 70, offset 20000, data 010203, FIN": StreamData(70, 20_000, b"\1\2\3", True),
    "MAX_DATA 2000000000": MaxData(2_000_000_000),
    "MAX_STREAM_DATA stream 70, 262144": MaxStreamData(70, 262_144),
    'CONNECTION_CLOSE code 8, reason "why"': ConnectionClose(8, "why"),
    "IMMEDIATE_ACK": ImmediateAck(),
    'OPEN_STREAM stream 70, port 443, destination "example.com"': OpenStream(70, 443, "example.com"),
    "STREAM_OPENED stream 70": StreamOpened(70),
    'NEW_PATH path 3, "wss://a.example"': NewPath(3, "wss://a.example"),
    "NEW_TICKET lifetime 604800": NewTicket(604_800, TICKET_SECRET),
    "NEW_CONNECTION_ID 2, 0102030405060708": NewConnectionID(2, bytes.fromhex("0102030405060708")),
    "RETIRE_CONNECTION_ID 1": RetireConnectionID(1),
    "CANDIDATES 3, host 192.0.2.1 port 4433, mapped 2001:db8::1 port 5000": Candidates(
        3, [(0, ("192.0.2.1", 4_433)), (2, ("2001:db8::1", 5_000))]
    ),
    "DUPLICATE_KEY": DuplicateKey(*(hashlib.sha256(bytes([n])).digest() for n in (2, 3)), bytes([4]) * 64),
}


class Vectors:
    """The sections of the file by name. Counts which of them were used."""

    def __init__(self):
        sections = json.loads((REPOSITORY / "docs/vectors/session-1.json").read_text())
        self.sections = {section["name"]: section["values"] for section in sections}
        keys = self.sections["keys"]
        self.exit, self.identity, self.client, self.server, self.next_client, self.next_server = (
            Key(bytes.fromhex(keys[f"{name} secret"])) for name in ("exit", "identity", "c", "e", "c1", "e1")
        )
        offer = self.sections["offer"]
        self.context = Context(self.exit.public, self.client.public, offer["uuid"])
        self.offer = Offer.decoded(self.bytes("offer", "offer"))
        self.acceptance = Acceptance.decoded(self.bytes("acceptance", "plaintext"))
        self.transcript = first_transcript(
            self.offer.hash(self.context), self.server.public, self.acceptance.body
        )
        self.credential = Credential.of_identity(self.identity, self.exit.public)

    def bytes(self, section, name):
        return bytes.fromhex(self.sections[section][name])

    def kem_key(self, number):
        return KEMKey(self.bytes("keys", f"kem seed {number}"))

    def generation(self, number, transcript, own, peer, previous_root=b""):
        secret = self.bytes(f"keys of generation {number}", "shared secret")
        return Generation.derived(number, transcript, own, peer.public, secret, previous_root)

    def check_keys(self, section, generation):
        own, peer = generation.own, generation.peer
        assert own.conversation_key(peer) == self.bytes(section, "conversation key")
        assert generation.client_key == self.bytes(section, "client key")
        assert generation.exit_key == self.bytes(section, "exit key")
        assert generation.root == self.bytes(section, "root")


@pytest.fixture
def vectors():
    return Vectors()


UNUSUAL_FRAMES = "frames: PADDING twice, then STREAM stream 1, offset 0, data up to the end of the packet, no FIN"


def test_vectors_are_all_known(vectors):
    known = {"keys", "tagged hash", "offer", "acceptance", "identity", "refusal", "key update", "packet of the client"}
    known |= {"enrolment", "packet of the exit", "proofs of the offer", "messages of plain NIP-74"}
    known |= {"credential: identity", "credential: ticket", "credential: invite"}
    known |= {"datagrams of a direct path", "keys of generation 0", "keys of generation 1", "session query about e", UNUSUAL_FRAMES}
    assert set(vectors.sections) == known | {f"frame: {name}" for name in FRAMES}


def test_vectors_of_keys_and_hashes(vectors):
    for name, key in [
        ("exit", vectors.exit),
        ("identity", vectors.identity),
        ("c", vectors.client),
        ("e", vectors.server),
        ("c1", vectors.next_client),
        ("e1", vectors.next_server),
    ]:
        assert key.public == vectors.bytes("keys", name)
    for number in range(2):
        assert vectors.kem_key(number).public == vectors.bytes("keys", f"kem key {number}")
    section = vectors.sections["tagged hash"]
    fields = [bytes.fromhex(field) for field in section["fields"].split()]
    assert tagged_hash(section["tag"], *fields).hex() == section["hash"]


def credentials(vectors):
    return {
        "identity": vectors.credential,
        "ticket": Credential.of_ticket(TICKET_SECRET, vectors.exit.public, vectors.identity),
        "invite": Credential.of_invite(TICKET_SECRET, vectors.exit.public),
    }


def test_vectors_of_credentials(vectors):
    by_kind = credentials(vectors)
    assert Credential.of_client(vectors.exit, vectors.identity.public).proof_key == vectors.credential.proof_key
    for kind, (name, credential) in zip((IDENTITY, TICKET, INVITE), by_kind.items()):
        section = vectors.sections[f"credential: {name}"]
        assert credential.kind == kind == int(section["kind"])
        assert (credential.hint_key + credential.proof_key).hex() == section["derived"]
        assert credential.hint(int(section["date"])).hex() == section["hint"]
        assert section.get("secret", TICKET_SECRET.hex()) == TICKET_SECRET.hex()


def test_vectors_of_offers(vectors):
    section = vectors.sections["offer"]
    assert vectors.offer.bodies == {1: bytes.fromhex(section["body"])}
    assert Offer.new(vectors.offer.bodies, vectors.offer.unproven[:16]).unproven == vectors.offer.unproven
    assert vectors.offer.encoded().hex() == section["offer"]
    assert vectors.offer.hash(vectors.context).hex() == section["offer hash"]
    proof = vectors.credential.proof(vectors.offer, vectors.context, int(section["date"]))
    assert proof.hex() == section["proof"] == vectors.offer.proof.hex()
    message = json.loads(section["CONNECT"])
    assert message["key"] == section["uuid"] and message["type"] == "CONNECT"
    assert base64.b64decode(message["nws"]) == vectors.offer.encoded()
    proofs = vectors.sections["proofs of the offer"]
    for name, credential in credentials(vectors).items():
        assert credential.proof(vectors.offer, vectors.context, int(section["date"])).hex() == proofs[name]
    body = OfferBody.decoded(vectors.offer.bodies[1])
    assert body.opening == Opening(80, "", b"GET /")
    assert body.encoded().hex() == section["body"]
    assert body.encapsulation_key == vectors.kem_key(0).public and body.session is None


def test_vectors_of_answers(vectors):
    section = vectors.sections["acceptance"]
    acceptance = vectors.acceptance
    assert acceptance.encoded().hex() == section["plaintext"]
    assert acceptance.body.hex() == section["body"]
    body = AcceptanceBody.decoded(acceptance.body)
    # The order of parameters has no meaning.
    assert body.wants_identity and body.opened == 5
    assert body.ciphertext.hex() == section["ciphertext"]
    assert vectors.transcript.hex() == section["transcript"]
    digest = exit_hash(vectors.transcript)
    assert digest.hex() == section["signed hash"]
    assert vectors.exit.sign(digest, SIGNED_WITHOUT_RANDOMNESS).hex() == section["signature"]
    assert is_signed(vectors.exit.public, digest, acceptance.signature)
    assert vectors.credential.exit_proof(vectors.transcript).hex() == section["exit's proof"] == acceptance.proof.hex()

    section = vectors.sections["refusal"]
    refusal = Refusal(int(section["code"]))
    assert refusal.unsigned().hex() == section["body"]
    offer_hash = vectors.offer.hash(vectors.context)
    assert refusal.signed_hash(offer_hash, vectors.server.public).hex() == section["signed hash"]
    signed = refusal.signed(vectors.exit, offer_hash, vectors.server.public)
    assert Refusal.decoded(signed.encoded()) == signed


def test_vectors_of_enrolment(vectors):
    section = vectors.sections["enrolment"]
    secret, token = (bytes.fromhex(section[name]) for name in ("secret", "token"))
    assert token_of(secret, vectors.exit.public) == token
    assert verifier_of(token).hex() == section["verifier"]
    assert enrolment_hash(vectors.transcript, token, b"laptop").hex() == section["signed hash"]
    request = Request.signed(vectors.identity, token, b"laptop", vectors.transcript, SIGNED_WITHOUT_RANDOMNESS)
    assert request.encoded().hex() == section["request"]
    assert request.signature.hex() == section["signature"]
    assert Request.decoded(bytes.fromhex(section["request"])) == request
    assert answer([22, 80]).hex() == section["answer"]
    assert read_answer(bytes.fromhex(section["answer"])) == (0, [22, 80], False)
    assert read_answer(bytes.fromhex(section["refusal"])) == (REVOKED, None, None)
    invite = Invite(vectors.exit.public, ("wss://a.example",), secret, "home", 1_800_000_000)
    assert invite.encoded() == section["invite"]
    assert Invite.decoded(section["invite"]) == invite


def decoded_update(message, kind):
    reader = Reader(message)
    assert reader.varint() == kind
    update = Update.decoded(kind, reader.block())
    reader.end()
    return update


def test_vectors_of_generations(vectors):
    ciphertext = vectors.bytes("acceptance", "ciphertext")
    secret = vectors.bytes("keys of generation 0", "shared secret")
    assert vectors.kem_key(0).decapsulate(ciphertext) == secret
    first = vectors.generation(0, vectors.transcript, vectors.client, vectors.server)
    vectors.check_keys("keys of generation 0", first)
    assert vectors.generation(0, vectors.transcript, vectors.server, vectors.client).root == first.root

    digest = identity_hash(vectors.transcript)
    assert digest.hex() == vectors.sections["identity"]["signed hash"]
    identity = Identity(0, vectors.identity.public, vectors.identity.sign(digest, SIGNED_WITHOUT_RANDOMNESS))
    assert encode_frame(identity).hex() == vectors.sections["identity"]["frame"]
    assert decode_frames(encode_frame(identity)) == [identity]

    section = vectors.sections["key update"]
    client_update = decoded_update(vectors.bytes("key update", "client's message"), CLIENT_UPDATE)
    exit_update = decoded_update(vectors.bytes("key update", "exit's message"), EXIT_UPDATE)
    assert client_update == Update(1, vectors.next_client.public, vectors.kem_key(1).public)
    assert client_update.encoded().hex() == section["client's message"]
    transcript = exit_update.transcript(vectors.transcript, client_update)
    assert transcript.hex() == section["transcript"]
    signature = vectors.exit.sign(exit_hash(transcript), SIGNED_WITHOUT_RANDOMNESS)
    ciphertext = vectors.bytes("key update", "ciphertext")
    assert exit_update == Update(1, vectors.next_server.public, ciphertext, signature)
    assert exit_update.encoded().hex() == section["exit's message"]
    secret = vectors.bytes("keys of generation 1", "shared secret")
    assert vectors.kem_key(1).decapsulate(ciphertext) == secret
    second = vectors.generation(1, transcript, vectors.next_client, vectors.next_server, first.root)
    vectors.check_keys("keys of generation 1", second)


def test_vectors_of_packets(vectors):
    section = vectors.sections["packet of the client"]
    keys = vectors.generation(0, vectors.transcript, vectors.client, vectors.server)
    plaintext = bytes.fromhex(section["plaintext"])
    assert encrypt(keys.client_key, plaintext, bytes.fromhex(section["NIP-44 nonce"])) == section["content"]
    assert decrypt(keys.client_key, section["content"]) == plaintext
    kind, path, number, data = decode_packet(plaintext)
    assert encode_packet(kind, path, number, data) == plaintext
    assert decode_frames(data) == [Ping()]

    section = vectors.sections["packet of the exit"]
    plaintext = bytes.fromhex(section["plaintext"])
    assert encrypt(keys.exit_key, plaintext, bytes.fromhex(section["NIP-44 nonce"])) == section["content"]
    kind, path, number, data = decode_packet(plaintext)
    assert (kind, path, number) == (0x11, 2, 300) and encode_packet(kind, path, number, data) == plaintext
    assert decode_frames(data) == [Ack(2, 100, [(0, 1)]), StreamOpened(1)]


def test_vectors_of_datagrams(vectors):
    section = vectors.sections["datagrams of a direct path"]
    first = vectors.generation(0, vectors.transcript, vectors.client, vectors.server)
    exit_update = decoded_update(vectors.bytes("key update", "exit's message"), EXIT_UPDATE)
    client_update = decoded_update(vectors.bytes("key update", "client's message"), CLIENT_UPDATE)
    transcript = exit_update.transcript(vectors.transcript, client_update)
    second = vectors.generation(1, transcript, vectors.next_client, vectors.next_server, first.root)
    secrets = {0: first.datagram_secret, 1: second.datagram_secret}
    headers = [header_key(secrets[0], direction) for direction in (0, 1)]
    connection, packet = bytes.fromhex(section["connection ID"]), bytes.fromhex(section["plaintext"])
    token = bytes.fromhex("1112131415161718")
    # Direction, space, generation and number of each datagram, and what was received before.
    datagrams = {
        "from the client, packet 300, generation 0": (0, PACKETS, 0, 300, packet, 0),
        "from the client, packet 4294967297, generation 1": (0, PACKETS, 1, (1 << 32) + 1, packet, (1 << 32) - 7),
        "from the exit, check 0: a request with the token 1112131415161718": (
            1, CHECKS, 0, 0, check(REQUEST, token), 0,
        ),
        "from the client, check 0: its response, seen at 192.0.2.7 port 6000": (
            0, CHECKS, 0, 0, check(RESPONSE, token, ("192.0.2.7", 6_000)), 0,
        ),
    }  # fmt: skip
    assert set(section) == {"connection ID", "plaintext", *datagrams}
    for name, (direction, space, generation, number, plaintext, expected) in datagrams.items():
        datagram = seal(secrets[generation], headers[direction], direction, connection, space, generation, number, plaintext)
        assert datagram.hex() == section[name], name
        result = opened(secrets, headers[direction], direction, datagram, [expected, expected])
        assert result == (generation, space, number, plaintext)


def test_vectors_of_plain_messages(vectors):
    section = {name: json.loads(text) for name, text in vectors.sections["messages of plain NIP-74"].items()}
    uuid = vectors.sections["offer"]["uuid"]
    assert section["CONNECT"] == {"key": uuid, "type": "CONNECT", "destination": "x.nostr"}
    data = base64.b64encode(b"hello").decode()
    assert section["data"]["type"] in ("DATA", "SOCKS5RESPONSE") and section["data"]["key"] == uuid
    assert section["data"]["data"] == data


def test_vectors_of_a_session_query(vectors):
    body = OfferBody.decoded(vectors.bytes("session query about e", "body"))
    assert body.session == vectors.server.public and body.encapsulation_key is None
    section = vectors.sections["session query about e"]
    offer = Offer.decoded(vectors.bytes("session query about e", "offer"))
    assert offer.bodies == {1: vectors.bytes("session query about e", "body")}
    proof = vectors.credential.proof(offer, vectors.context, int(vectors.sections["offer"]["date"]))
    assert proof == offer.proof
    message = json.loads(section["OFFER"])
    assert message["type"] == "OFFER" and base64.b64decode(message["nws"]) == offer.encoded()


def test_vectors_of_unusual_frames(vectors):
    frames = decode_frames(vectors.bytes(UNUSUAL_FRAMES, "frames"))
    assert frames[-1] == StreamData(1, 0, b"\1\2\3", False)


@pytest.mark.parametrize("name", FRAMES)
def test_vectors_of_frames(vectors, name):
    encoded = vectors.bytes(f"frame: {name}", "frame")
    assert encode_frame(FRAMES[name]) == encoded
    assert decode_frames(encoded) == [FRAMES[name]]


# Sessions with nws


class SocksStream:
    """A connection through the entry, with the methods of a stream of this implementation."""

    def __init__(self, connection):
        self._socket = connection
        self.write = connection.sendall
        self.close = connection.close

    def read_exactly(self, count):
        return read_exactly(self._socket, count)

    def read_to_end(self):
        return read_to_end(self._socket)

    def finish(self):
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self):
        set_reset_on_close(self._socket)
        self._socket.close()


class OurClient:
    """This client and the exit of nws."""

    reset = StreamReset

    def __init__(self, sandbox, backend, relays, *options):
        self.node = sandbox.exit([relay.url for relay in relays], backend, options=options)
        self.session = connect(bytes.fromhex(self.node.pubkey), [relay.url for relay in relays])
        sandbox.closing(self.session)

    def open(self):
        return self.session.open(80)


class OurExit:
    """The entry of nws and this exit."""

    reset = ConnectionError

    def __init__(self, sandbox, backend, relays):
        host, port = backend.rsplit(":", 1)
        self.node = sandbox.closing(Exit(Key(), [relay.url for relay in relays], (host, int(port))))
        self.entry = sandbox.entry("--protocol", "session")

    @property
    def session(self):
        return self.node.sessions[-1]

    def open(self):
        return SocksStream(open_stream(self.entry.address, self.node.name).socket)


@pytest.fixture(params=[OurClient, OurExit], ids=["client", "exit"])
def tunnel(request):
    """Client and exit, one of which is this implementation."""
    return request.param


COUNT = 2_000_000


def set_reset_on_close(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def nothing_more_comes(connection):
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def in_parallel(*functions):
    """Runs the functions on threads; returns their results."""
    results = [None] * len(functions)

    def run(index):
        results[index] = functions[index]()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT * 2)
    return results


def echoes(stream, data):
    """Sends data to a service that echoes it; returns whether it comes back unchanged, and then the end."""

    def send():
        stream.write(data)
        stream.finish()

    _, received = in_parallel(send, stream.read_to_end)
    return sha256(received or b"") == sha256(data)


def test_data_passes_in_both_directions_at_once(sandbox, serve, tunnel):
    stream = tunnel(sandbox, serve(echo).address, [sandbox.relay()]).open()
    assert echoes(stream, content(COUNT))


def local_datagrams():
    """The options of a node that takes datagrams from this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return ("--direct", "on", "--direct-port", port, "--direct-address", f"127.0.0.1:{port}", "--log-level", "debug")


def is_direct(session):
    path = session.paths.get(DIRECT_PATH)
    return path is not None and path.is_usable


def without_relay(session, relay, stream):
    """Data passes on the direct path, and still does so when the relay is gone. The keys are not changed in between."""
    session.wait_for(lambda: is_direct(session))
    stream.write(content(COUNT // 4))
    assert sha256(stream.read_exactly(COUNT // 4)) == sha256(content(COUNT // 4))
    relay.process.kill()
    assert echoes(stream, content(COUNT))


def test_our_client_has_a_direct_path(sandbox, serve):
    relay = sandbox.relay()
    node = sandbox.exit([relay.url], serve(echo).address, options=local_datagrams())
    session = sandbox.closing(connect(bytes.fromhex(node.pubkey), [relay.url], direct=True))
    without_relay(session, relay, session.open(80))
    assert node.process.wait_for_log("direct path found")


def test_our_exit_has_a_direct_path(sandbox, serve):
    relay = sandbox.relay()
    host, port = serve(echo).address.rsplit(":", 1)
    node = sandbox.closing(Exit(Key(), [relay.url], (host, int(port)), direct=True))
    entry = sandbox.entry("--protocol", "session", *local_datagrams())
    stream = SocksStream(open_stream(entry.address, node.name).socket)
    session = node.sessions[-1]
    without_relay(session, relay, stream)


def test_the_client_may_end_its_direction_first(sandbox, serve, tunnel):
    stream = tunnel(sandbox, serve(digest_after_end).address, [sandbox.relay()]).open()
    stream.write(content(COUNT))
    stream.finish()
    assert stream.read_to_end().decode() == sha256(content(COUNT))


def test_the_service_may_end_its_direction_first(sandbox, serve, tunnel):
    received = []

    def serve_then_receive(connection):
        connection.sendall(content(COUNT))
        connection.shutdown(socket.SHUT_WR)
        received.append(sha256(read_to_end(connection)))

    stream = tunnel(sandbox, serve(serve_then_receive).address, [sandbox.relay()]).open()
    assert sha256(stream.read_to_end()) == sha256(content(COUNT))
    stream.write(content(COUNT))
    stream.finish()
    assert eventually(lambda: received) == [sha256(content(COUNT))]


def test_a_reset_by_the_service_arrives(sandbox, serve, tunnel):
    def reset(connection):
        read_exactly(connection, 5)
        set_reset_on_close(connection)

    nodes = tunnel(sandbox, serve(reset).address, [sandbox.relay()])
    stream = nodes.open()
    stream.write(b"hello")
    with pytest.raises(nodes.reset) as raised:
        stream.read_to_end()
    assert nodes.reset is not StreamReset or raised.value.code == CONNECTION_RESET
    nodes.session.wait_for(lambda: not nodes.session.streams)


def test_a_reset_by_the_client_arrives(sandbox, serve, tunnel):
    ends = []

    def note_end(connection):
        connection.sendall(b"hello")
        try:
            ends.append(connection.recv(1))
        except ConnectionResetError:
            ends.append("reset")

    nodes = tunnel(sandbox, serve(note_end).address, [sandbox.relay()])
    stream = nodes.open()
    assert stream.read_exactly(5) == b"hello"
    stream.reset()
    assert eventually(lambda: ends) == ["reset"]
    nodes.session.wait_for(lambda: not nodes.session.streams)


def test_several_streams_at_once(sandbox, serve, tunnel):
    nodes = tunnel(sandbox, serve(echo).address, [sandbox.relay()])
    bodies = [content(COUNT // 4 + number) for number in range(6)]
    assert in_parallel(*(lambda body=body: echoes(nodes.open(), body) for body in bodies)) == [True] * len(bodies)
    nodes.session.wait_for(lambda: not nodes.session.streams)


def test_a_service_that_is_down_is_reported(sandbox, tunnel):
    nodes = tunnel(sandbox, f"127.0.0.1:{unused_port()}", [sandbox.relay()])
    if tunnel is OurClient:
        with pytest.raises(StreamReset) as raised:
            nodes.open()
        assert raised.value.code == REFUSED
    else:
        assert reply_to(nodes.entry.address, nodes.node.name) == SOCKS_REFUSED


@pytest.mark.parametrize("killed", range(2), ids=["first relay", "second relay"])
def test_no_byte_is_lost_with_a_relay(sandbox, serve, tunnel, killed):
    relay_died = threading.Event()

    def echo_once_the_relay_died(connection):
        connection.sendall(read_exactly(connection, COUNT // 10))
        relay_died.wait(TIMEOUT)
        echo(connection)

    relays = [sandbox.relay() for _ in range(2)]
    nodes = tunnel(sandbox, serve(echo_once_the_relay_died).address, relays)
    stream = nodes.open()
    session = nodes.session
    session.wait_for(lambda: len(session.paths) == 2 and all(path.is_usable for path in session.paths.values()))
    body, received = content(COUNT), []

    def send():
        stream.write(body)
        stream.finish()

    def receive():
        received.append(stream.read_exactly(COUNT // 10))
        relays[killed].process.send(signal.SIGKILL)
        relays[killed].process.wait()
        relay_died.set()
        received.append(stream.read_to_end())

    in_parallel(send, receive)
    assert sha256(b"".join(received)) == sha256(body)


# Key updates


def allowed_client(sandbox, *lines):
    """Returns a client's identity and a file for `nws exit --allow` that contains it."""
    keys = sandbox.keys()
    file = sandbox.write("allowed", "\n".join([keys.public_key().to_bech32(), *lines]) + "\n")
    return Key(bytes.fromhex(keys.secret_key().to_hex())), file


def exit_key(sandbox):
    keys = Keys.parse((sandbox.folder / "exit.key").read_text().strip())
    return Key(bytes.fromhex(keys.secret_key().to_hex()))


def private_exit(sandbox, relay, backend, file):
    return sandbox.exit([relay.url], backend, options=("--allow", file))


def public_key(node):
    return bytes.fromhex(node.pubkey)


def first_path(session):
    return next(iter(session.paths.values()))


def test_keys_are_updated_while_data_passes(sandbox, serve):
    nodes = OurClient(sandbox, serve(echo).address, [sandbox.relay(), sandbox.relay()])
    session, stream = nodes.session, nodes.open()
    stream.write(content(COUNT))
    before = session.sending
    session.update_keys()
    session.wait_for(lambda: session.sending.number == 1 and session.newest_received == 1)
    assert session.sending.own.public != before.own.public and session.sending.peer != before.peer
    stream.finish()
    assert sha256(stream.read_to_end()) == sha256(content(COUNT))
    # Another update is due no sooner than 5 s later.
    session.update_keys()
    session.wait_for(lambda: session.is_closed)
    assert session.close_code == PROTOCOL_VIOLATION


def test_the_entry_updates_its_keys(sandbox, serve):
    """Nws does so after half an hour; here, sooner."""
    relay, key = sandbox.relay(), Key()
    entry, identity = identity_entry(sandbox, key, "--key-lifetime", "6")
    node = own_exit(sandbox, relay, serve(echo), key=key, credentials=[Credential.of_client(key, identity)])
    with open_stream(entry.address, node.name) as client:
        session = node.sessions[0]
        for generation in (1, 2):
            session.wait_for(lambda generation=generation: session.newest_received == generation)
            session.wait_for(lambda generation=generation: session.identity.generation == generation)
            client.socket.sendall(b"still there")
            assert read_exactly(client.socket, 11) == b"still there"
    assert len(node.sessions) == 1


def test_this_exit_updates_its_keys(sandbox, serve):
    relay, key, identity = sandbox.relay(), Key(), Key()
    node = own_exit(sandbox, relay, serve(echo), key=key, credentials=[Credential.of_client(key, identity.public)])
    session = sandbox.closing(connect(key.public, [relay.url], Credential.of_identity(identity, key.public)))
    stream = session.open(80)
    stream.write(content(COUNT))
    session.update_keys()
    session.wait_for(lambda: session.newest_received == 1)
    other = node.sessions[0]
    other.wait_for(lambda: other.newest_received == 1 and other.identity.generation == 1)
    stream.finish()
    assert sha256(stream.read_to_end()) == sha256(content(COUNT))


@pytest.mark.parametrize("repeats_identity", [True, False], ids=["with identity", "without identity"])
def test_an_update_needs_the_identity_again(sandbox, serve, repeats_identity):
    identity, file = allowed_client(sandbox)
    relay = sandbox.relay()
    node = private_exit(sandbox, relay, serve(echo).address, file)
    credential = Credential.of_identity(identity, public_key(node))
    session = sandbox.closing(connect(public_key(node), [relay.url], credential))
    session.open(80)
    session.update_keys(repeats_identity)
    session.wait_for(lambda: session.newest_received == 1)
    # Both sides erase the old keys after 10 s.
    session.wait_for(lambda: session.is_closed or len(session.generations) == 1)
    if repeats_identity:
        assert echoes(session.open(80), content(1_000))
    else:
        # The exit decides while it receives packets.
        def is_closed():
            if not session.is_closed:
                session.open(80)
            return session.is_closed

        eventually(is_closed, every=1)
        assert session.close_code == NOT_ALLOWED


# Proofs


def test_an_identity_is_proven_and_gets_a_ticket_for_one_session(sandbox, serve):
    identity, file = allowed_client(sandbox)
    relay = sandbox.relay()
    node = private_exit(sandbox, relay, serve(echo).address, file)
    exit_public = public_key(node)
    session = sandbox.closing(connect(exit_public, [relay.url], Credential.of_identity(identity, exit_public)))
    assert session.exit_is_proven
    assert echoes(session.open(80), content(10_000))
    session.wait_for(lambda: session.tickets)

    ticket = Credential.of_ticket(session.tickets[0], exit_public, identity)
    second = sandbox.closing(connect(exit_public, [relay.url], ticket))
    assert second.exit_is_proven
    assert echoes(second.open(80), content(10_000))
    with pytest.raises(Refused) as raised:
        connect(exit_public, [relay.url], ticket)
    assert raised.value.code == REPLAYED


def invited(sandbox, serve, relay, **options):
    """Starts our exit with one open invite; returns the node, its public key, the file, and the invite's secret."""
    sandbox.succeed("key", "generate", "--key-file", "exit.key")
    secret = os.urandom(32)
    exit_public = exit_key(sandbox).public
    invite = Credential.of_invite(secret, exit_public)
    verifier = verifier_of(token_of(secret, exit_public))
    _, file = allowed_client(sandbox, f'services="80" invite:{(invite.hint_key + invite.proof_key + verifier).hex()}')
    backend = serve(echo)
    return private_exit(sandbox, relay, backend.address, file), exit_public, file, secret, backend


def test_an_invite_gives_a_session_without_streams(sandbox, serve):
    relay = sandbox.relay()
    _, exit_public, _, secret, backend = invited(sandbox, serve, relay)
    invite = Credential.of_invite(secret, exit_public)
    session = sandbox.closing(connect(exit_public, [relay.url], invite))
    assert session.exit_is_proven
    with pytest.raises(StreamReset) as raised:
        session.open(80)
    assert raised.value.code == NOT_ALLOWED
    assert backend.connections == 0


def test_a_device_of_the_second_implementation_enrols(sandbox, serve):
    relay = sandbox.relay()
    node, exit_public, file, secret, _ = invited(sandbox, serve, relay)
    invite, identity = Credential.of_invite(secret, exit_public), Key()
    session = sandbox.closing(connect(exit_public, [relay.url], invite))
    # What the exit stores does not suffice, nor a signature for another session, nor a request that is cut short.
    assert session.enrol(verifier_of(token_of(secret, exit_public)), identity) == (NOT_ALLOWED, None, None)
    session = sandbox.closing(connect(exit_public, [relay.url], invite))
    other = Request.signed(identity, token_of(secret, exit_public), b"", bytes(32)).encoded()
    for data in [other, other[:100], other + bytes(500), b""]:
        session = sandbox.closing(connect(exit_public, [relay.url], invite))
        stream = session.open(0)
        stream.write(data)
        stream.finish()
        assert read_answer(stream.read_to_end()) == (NOT_ALLOWED, None, None)
        with pytest.raises(StreamReset):
            session.open(0)
    assert "npub" not in file.read_text().split("invite:")[1]
    session = sandbox.closing(connect(exit_public, [relay.url], invite))
    device = 'a "device"\nservices="1"'.encode()
    assert session.enrol(token_of(secret, exit_public), identity, device) == (0, [], False)
    line = file.read_text().splitlines()[-1]
    assert line.startswith('services="80",added="20') and line.endswith(" a device services 1")
    session = sandbox.closing(connect(exit_public, [relay.url], Credential.of_identity(identity, exit_public)))
    assert echoes(session.open(80), content(1_000))
    with pytest.raises(Refused) as raised:
        connect(exit_public, [relay.url], invite)
    assert raised.value.code == REVOKED
    node.process.wait_for_log("invite refused: it was used or revoked")


def test_this_program_enrols_with_an_exit_of_the_second_implementation(sandbox, serve):
    relay, secret = sandbox.relay(), os.urandom(32)
    node = own_exit(sandbox, relay, serve(echo), credentials=[])
    node.invite(secret)
    laptop = Home(sandbox, "laptop")
    line = Invite(node.key.public, (relay.url,), secret, "home").encoded()
    output = laptop.join(line, "--device-name", "laptop")
    assert "enrolled: home" in output and "services: 80" in output
    assert [request.name for request in node.devices] == [b"laptop"]
    assert "opened: 1 of 1" in laptop.succeed("ping", "home:80", "--count", "1")


def test_the_exit_is_silent_without_a_valid_proof(sandbox, serve):
    identity, file = allowed_client(sandbox)
    relay = sandbox.relay()
    node = private_exit(sandbox, relay, serve(echo).address, file)
    exit_public = public_key(node)
    known = Credential.of_identity(identity, exit_public)

    def of_stranger(handshake):
        return Credential.of_identity(Key(), exit_public).proof(handshake.offer, handshake.context)

    def with_wrong_code(handshake):
        proof = bytearray(known.proof(handshake.offer, handshake.context))
        proof[-1] ^= 1
        return bytes(proof)

    proofs = {
        "none": lambda handshake: b"",
        "of a stranger": of_stranger,
        "of another offer": lambda handshake: known.proof(Offer.new({1: b""}), handshake.context),
        "with a wrong code": with_wrong_code,
        "too old": lambda handshake: known.proof(handshake.offer, handshake.context, int(time.time()) - 130),
        "of the future": lambda handshake: known.proof(handshake.offer, handshake.context, int(time.time()) + 1_000),
        "cut short": lambda handshake: known.proof(handshake.offer, handshake.context)[:-1],
        "of an unknown kind": lambda handshake: b"\x09" + known.proof(handshake.offer, handshake.context)[1:],
    }
    strangers = {}
    for name, proof in proofs.items():
        stranger = strangers[name] = sandbox.closing(Handshake(exit_public, [relay.url]))
        stranger.offer = replace(stranger.offer, proof=proof(stranger))
        stranger.publish_offer("CONNECT")
    # The exit handles messages in order, so it has ignored these when it has answered a listed client.
    sandbox.closing(connect(exit_public, [relay.url], known))
    assert [name for name, stranger in strangers.items() if not stranger.is_unanswered()] == []


# Openings


@pytest.mark.parametrize("options", [("--early-data",), ()], ids=["taken", "not taken"])
def test_an_opening_without_an_access_list(sandbox, serve, options):
    backend = serve(echo)
    relay = sandbox.relay()
    node = sandbox.exit([relay.url], backend.address, options=options)
    handshake = sandbox.closing(Handshake(public_key(node), [relay.url], opening=Opening(80, "", b"early ")))
    if options:
        # The exit connects its service although the client has not sent a packet.
        handshake.publish_offer("CONNECT")
        eventually(lambda: backend.connections)
    session = sandbox.closing(handshake.session_or_refusal())
    session.first_stream.write(b"and late")
    session.first_stream.finish()
    assert session.first_stream.read_to_end() == b"early and late"
    assert backend.connections == 1


def test_an_opening_with_a_ticket_is_served_before_the_identity_is_sent(sandbox, serve):
    identity, file = allowed_client(sandbox)
    relay, backend = sandbox.relay(), serve(echo)
    node = private_exit(sandbox, relay, backend.address, file)
    exit_public = public_key(node)
    by_identity = Credential.of_identity(identity, exit_public)
    first = sandbox.closing(connect(exit_public, [relay.url], by_identity, Opening(80, "", b"first")))
    assert first.first_stream.read_exactly(5) == b"first"
    first.wait_for(lambda: first.tickets)
    ticket = Credential.of_ticket(first.tickets[0], exit_public, identity)
    handshake = sandbox.closing(Handshake(exit_public, [relay.url], ticket, Opening(80, "", b"second")))
    handshake.publish_offer("CONNECT")
    eventually(lambda: backend.connections == 2)
    second = sandbox.closing(handshake.session_or_refusal())
    assert second.first_stream.read_exactly(6) == b"second"
    assert echoes(second.open(80), content(1_000))
    # After a restart the exit does not know the session, but knows that it connected the opening.
    node.process.kill()
    private_exit(sandbox, relay, backend.address, file)
    handshake.session = None
    with pytest.raises(Refused) as raised:
        handshake.session_or_refusal()
    assert raised.value.code == REPLAYED
    assert backend.connections == 3


def test_an_opening_that_this_exit_does_not_take_is_sent_again(sandbox, serve):
    relay = sandbox.relay()
    node = own_exit(sandbox, relay, serve(echo))
    entry = sandbox.entry("--protocol", "session", "--optimistic")
    assert echoes(SocksStream(open_stream(entry.address, node.name).socket), b"This pins the exit.")
    node.sessions[0].close()
    entry.process.wait_for_log("session ended")
    assert echoes(SocksStream(open_stream(entry.address, node.name).socket), content(10_000))
    opening = OfferBody.decoded(node.offers[1].bodies[1]).opening
    assert opening.port == 80 and content(10_000).startswith(opening.data)


# Refusals


def refusal(node, relay, bodies):
    with pytest.raises(Refused) as raised:
        Handshake(public_key(node), [relay.url], bodies=bodies).session_or_refusal()
    return raised.value


def test_a_later_version_is_refused(sandbox):
    relay = sandbox.relay()
    node = sandbox.exit([relay.url])
    refused = refusal(node, relay, {2: b"of a later version"})
    assert (refused.code, refused.versions) == (UNSUPPORTED_VERSION, (1,))


def valid_parameters():
    return Limits().parameters() | {ENCAPSULATION_KEY: KEMKey().public}


MALFORMED_BODIES = {
    "cut short": lambda: encode_parameters(valid_parameters())[:-1],
    "no KEM key": lambda: encode_parameters(Limits().parameters()),
    "invalid KEM key": lambda: encode_parameters({ENCAPSULATION_KEY: b"\xff" * 1_184}),
    "short KEM key": lambda: encode_parameters({ENCAPSULATION_KEY: KEMKey().public[:-1]}),
    "parameter twice": lambda: encode_parameters(valid_parameters()) + encode_parameters({MAX_PACKET: varint(2_000)}),
    "too many parameters": lambda: encode_parameters(valid_parameters() | {0x100 + n: b"" for n in range(60)}),
    "small packets": lambda: encode_parameters(valid_parameters() | {MAX_PACKET: varint(1_023)}),
    "bytes after a varint": lambda: encode_parameters(valid_parameters() | {MAX_PACKET: varint(2_000) + b"\0"}),
}


def test_malformed_bodies_are_refused(sandbox):
    relay = sandbox.relay()
    node = sandbox.exit([relay.url])
    for name, body in MALFORMED_BODIES.items():
        assert refusal(node, relay, {1: body()}).code == PROTOCOL_VIOLATION, name


def test_malformed_offers_are_ignored(sandbox, serve):
    backend = serve(echo)
    relay = sandbox.relay()
    node = sandbox.exit([relay.url], backend.address)
    valid = Handshake(public_key(node), [relay.url])
    nonce, body = bytes(16), valid.offer.bodies[1]
    version_1, version_2 = (varint(version) + varint(len(body)) + body for version in (1, 2))
    malformed = {
        "nothing": b"",
        "nonce cut short": nonce[:-1],
        "no versions": nonce + varint(0),
        "body cut short": valid.offer.unproven[:-1],
        "wrong order": nonce + varint(2) + version_2 + version_1,
        "version twice": nonce + varint(2) + version_1 + version_1,
        "too many versions": nonce + varint(9) + b"".join(varint(v) + varint(0) for v in range(1, 10)),
        "too long": valid.offer.unproven + bytes(16_385),
    }
    senders = {}
    for name, offer in malformed.items():
        sender = senders[name] = sandbox.closing(Handshake(public_key(node), [relay.url]))
        sender.offer = Offer({}, offer)
        sender.publish_offer("CONNECT")
    session = sandbox.closing(valid.session_or_refusal())
    assert echoes(session.open(80), b"hello")
    assert [name for name, sender in senders.items() if not sender.is_unanswered()] == []
    assert backend.connections == 1


# Violations and other errors


@pytest.fixture
def session(sandbox, serve):
    """A session of this client with nws, with one open stream."""
    nodes = OurClient(sandbox, serve(echo).address, [sandbox.relay()])
    nodes.open()
    return nodes.session


def violations():
    ping_ack = Ack(0, 0, [(0, 0)])
    end, byte = encode_frame(StreamData(1, 9, b"", True)), encode_frame(StreamData(1, 9, b"x", False))
    return {
        "unknown frame": varint(0x3F),
        "frame cut short": encode_frame(ResetStream(1, 0, 0))[:-1],
        "path beyond its bound": varint(0x02) + varint(16) + bytes(4),
        "two ACKs for one path": encode_frame(ping_ack) * 2,
        "ACK of a packet that was never sent": encode_frame(Ack(0, 0, [(1_000, 1_000)])),
        "ACK with a range below 0": varint(0x02) + bytes([0, 0, 0, 0, 1]),
        "STREAM_OPENED": encode_frame(StreamOpened(1)),
        "NEW_PATH": encode_frame(NewPath(1, "ws://127.0.0.1:9")),
        "NEW_TICKET": encode_frame(NewTicket(1, bytes(32))),
        "two DUPLICATE_KEY": b"".join(encode_frame(DuplicateKey(bytes([n]) * 32, bytes(32), bytes(64))) for n in (1, 2)),
        "data beyond the credit": encode_frame(StreamData(1, 1 << 40, b"x", False)),
        "two final sizes": end + encode_frame(StreamData(1, 10, b"", True)),
        "data beyond the final size": end + byte,
        "final size below data": byte + encode_frame(ResetStream(1, 0, 5)),
        "end of a stream beyond 2^62": encode_frame(StreamData(1, (1 << 62) - 1, b"x", False)),
        "CRYPTO data too far ahead": encode_frame(Crypto(8_192, b"x")),
        "message of the exit in CRYPTO": encode_frame(Crypto(0, varint(2) + varint(1) + b"x")),
        "update of another generation": encode_frame(Crypto(0, Update(2, Key().public, KEMKey().public).encoded())),
        "reason too long": varint(0x1C) + varint(0) + varint(513) + bytes(513),
        "port beyond its bound": varint(0x40) + varint(2) + varint(65_536) + varint(0),
    }


@pytest.mark.parametrize("name", violations())
def test_violations_close_the_session(session, name):
    with session.changed:
        session.send_encoded(first_path(session), violations()[name])
    session.wait_for(lambda: session.is_closed)
    assert session.close_code == PROTOCOL_VIOLATION


def violations_of_exits():
    return {
        "unknown frame": varint(0x3F),
        "OPEN_STREAM": encode_frame(OpenStream(2, 80, "")),
        "IDENTITY": encode_frame(Identity(0, bytes(32), bytes(64))),
        "DUPLICATE_KEY": encode_frame(DuplicateKey(bytes(32), bytes(32), bytes(64))),
        "STREAM that was not opened": encode_frame(StreamData(77, 0, b"x", False)),
        "data beyond the credit": encode_frame(StreamData(1, 1 << 40, b"x", False)),
        "final size below data": encode_frame(StreamData(1, 9, b"x", False)) + encode_frame(ResetStream(1, 0, 5)),
        "ACK of a packet that was never sent": encode_frame(Ack(0, 0, [(1_000, 1_000)])),
        "path beyond its bound": encode_frame(NewPath(16, "ws://127.0.0.1:9")),
        "message of a client in CRYPTO": encode_frame(Crypto(0, Update(1, bytes(32), bytes(1_184)).encoded())),
    }


@pytest.mark.parametrize("name", violations_of_exits())
def test_violations_of_the_exit_close_the_session(sandbox, serve, name):
    nodes = OurExit(sandbox, serve(echo).address, [sandbox.relay()])
    nodes.open()
    session = nodes.session
    with session.changed:
        session.send_encoded(session.paths[0], violations_of_exits()[name])
    session.wait_for(lambda: session.is_closed)
    assert session.close_code == PROTOCOL_VIOLATION


def acknowledged(session, number):
    return number not in first_path(session).in_flight


def test_data_before_its_stream_is_not_acknowledged(sandbox, serve):
    session = OurClient(sandbox, serve(echo).address, [sandbox.relay()]).session
    path = first_path(session)
    data = StreamData(1, 0, b"hello", True)
    received = []
    session.delivered = received.append
    with session.changed:
        early = session.send_encoded(path, encode_frame(Ping()) + encode_frame(data), [data])
        ping = session.send_encoded(path, encode_frame(Ping()), [Ping()])
    session.wait_for(lambda: acknowledged(session, ping))
    assert data not in received and early != ping


def test_frames_for_other_streams_are_acknowledged_and_ignored(session):
    path = first_path(session)
    ended = session.open(80)
    assert echoes(ended, b"")
    session.wait_for(lambda: ended.number in session.ended_streams)
    # For the exit it ends with the acknowledgement of its FIN, which travels with the next packet at the latest.
    session.open(80)
    frames = [
        OpenStream(0, 80, ""),
        MaxStreamData(0, 1_000),
        OpenStream(1, 80, ""),
        StreamData(ended.number, 1_000, b"late", False),
        OpenStream(ended.number, 80, ""),
        MaxStreamData(77, 1_000),
        StopSending(77, 0),
        ResetStream(ended.number, 0, 77),
    ]
    with session.changed:
        numbers = [session.send_encoded(path, encode_frame(frame), [Ping()]) for frame in frames]
    session.wait_for(lambda: session.is_closed or all(acknowledged(session, number) for number in numbers))
    assert echoes(session.open(80), b"still there")


def test_the_exit_adds_a_relay_that_replaces_the_first(sandbox, serve):
    first, second = sandbox.relay(), sandbox.relay()
    config = sandbox.write("exit.yaml", f"relay: [{first.url}]\n")
    node = sandbox.exit([], serve(echo).address, options=("--config", config))
    session = sandbox.closing(connect(public_key(node), [first.url]))
    stream = session.open(80)
    sandbox.write("exit.yaml", f"relay: [{first.url}, {second.url}]\n")
    node.process.send(signal.SIGHUP)
    session.wait_for(lambda: len(session.paths) == 2 and all(path.is_usable for path in session.paths.values()))
    first.process.kill()
    assert echoes(stream, content(COUNT))


def test_a_session_that_the_exit_does_not_know_ends(sandbox, serve):
    relay = sandbox.relay()
    nodes = OurClient(sandbox, serve(echo).address, [relay])
    stream = nodes.open()
    nodes.node.process.kill()
    sandbox.exit([relay.url])
    stream.write(b"Is anybody there?")
    nodes.session.wait_for(lambda: nodes.session.is_closed)
    assert nodes.session.close_code == UNKNOWN_SESSION


def test_the_entry_begins_a_new_session_when_the_exit_does_not_know_the_old_one(sandbox, serve):
    relay, key, backend = sandbox.relay(), Key(), serve(echo)
    entry = sandbox.entry("--protocol", "session")
    node = own_exit(sandbox, relay, backend, key=key)
    lost = open_stream(entry.address, node.name).socket
    node.stop()
    own_exit(sandbox, relay, backend, key=key)
    lost.sendall(b"Is anybody there?")
    assert nothing_more_comes(lost)
    assert echoes(SocksStream(open_stream(entry.address, node.name).socket), content(1_000))


def test_the_entry_makes_no_proof_for_exits_that_its_user_did_not_name(sandbox, serve):
    relay = sandbox.relay()
    entry, _ = identity_entry(sandbox, Key())
    node = own_exit(sandbox, relay, serve(echo), wants_identity=True)
    assert echoes(SocksStream(open_stream(entry.address, node.name).socket), content(1_000))
    assert node.offers[0].proof == b"" and node.sessions[0].identities == []


# The identity of a client of nws


def identity_entry(sandbox, key, *options):
    """Starts an entry with an identity for an exit; returns it and the public key."""
    keys = sandbox.keys()
    file = sandbox.write("identity.key", keys.secret_key().to_hex())
    exit_options = ("--identity-for", PublicKey.parse(key.public.hex()).to_bech32())
    entry = sandbox.entry("--protocol", "session", "--identity", file, *exit_options, *options)
    return entry, bytes.fromhex(keys.public_key().to_hex())


def own_exit(sandbox, relay, backend, **options):
    host, port = backend.address.rsplit(":", 1)
    return sandbox.closing(Exit(options.pop("key", Key()), [relay.url], (host, int(port)), **options))


def test_the_entry_identifies_itself_to_an_exit_that_knows_it(sandbox, serve):
    relay, key = sandbox.relay(), Key()
    entry, identity = identity_entry(sandbox, key)
    credential = Credential.of_client(key, identity)
    node = own_exit(sandbox, relay, serve(echo), key=key, credentials=[credential])
    assert echoes(SocksStream(open_stream(entry.address, node.name).socket), content(1_000))
    assert [frame.key for frame in node.sessions[0].identities] == [identity] * len(node.sessions[0].identities)
    assert node.sessions[0].identity and node.sessions[0].credential is credential
    # The next session uses the ticket of this one.
    node.sessions[0].close()
    entry.process.wait_for_log("session ended")
    assert echoes(SocksStream(open_stream(entry.address, node.name).socket), content(1_000))
    assert [session.credential.kind for session in node.sessions] == [IDENTITY, TICKET]


def test_the_entry_hides_its_identity_from_an_exit_without_proof(sandbox, serve):
    relay, key = sandbox.relay(), Key()
    entry, _ = identity_entry(sandbox, key)
    node = own_exit(sandbox, relay, serve(echo), key=key, wants_identity=True)
    assert echoes(SocksStream(open_stream(entry.address, node.name).socket), content(1_000))
    assert node.offers[0].proof[:1] == bytes([IDENTITY])
    assert node.sessions[0].identities == []


def test_the_entry_hides_its_identity_from_an_exit_with_a_wrong_proof(sandbox, serve):
    relay, key = sandbox.relay(), Key()
    entry, identity = identity_entry(sandbox, key)
    prover = Credential.of_client(Key(), identity)
    node = own_exit(sandbox, relay, serve(echo), key=key, wants_identity=True, prover=prover)
    assert echoes(SocksStream(open_stream(entry.address, node.name).socket), content(1_000))
    assert node.sessions[0].identities == []


# Two exits with one key


def test_both_exits_with_one_key_are_told(sandbox, serve):
    relay, key, backend = sandbox.relay(), Key(), serve(echo).address.rsplit(":", 1)
    exits = [sandbox.closing(Exit(key, [relay.url], (backend[0], int(backend[1])))) for _ in range(2)]
    entry = sandbox.entry("--protocol", "session")
    with open_stream(entry.address, exits[0].name) as client:
        sessions = eventually(lambda: all(node.sessions for node in exits) and [node.sessions[0] for node in exits])
        for session in sessions:
            session.wait_for(lambda session=session: session.has_twin)
            (other,) = [other for other in sessions if other is not session]
            assert session.duplicate_key.exit_session_key == other.first_key
        # The session that the client does not use is over. The other one is not disturbed.
        eventually(lambda: [session.is_closed for session in sessions].count(True) == 1)
        client.socket.sendall(b"still there")
        assert client.socket.recv(100) == b"still there"


@pytest.mark.parametrize("is_genuine", [True, False])
def test_an_exit_believes_only_what_its_key_has_signed(sandbox, serve, is_genuine):
    nodes = OurClient(sandbox, serve(echo).address, [sandbox.relay()])
    handshake = nodes.session.handshake
    fresh, body_hash = Key().public, content(32)
    signer = exit_key(sandbox) if is_genuine else Key()
    digest = exit_hash(transcript_of(handshake.offer.hash(handshake.context), fresh, body_hash))
    with nodes.session.changed:
        nodes.session.send(DuplicateKey(fresh, body_hash, signer.sign(digest)))
    if is_genuine:
        nodes.node.process.wait_for_log("another exit uses the same key")
    assert echoes(nodes.open(), content(1_000))
    assert ("same key" in nodes.node.process.stderr) == is_genuine
