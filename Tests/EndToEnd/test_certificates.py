# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""TLS that the exit terminates, with certificates that clients can verify."""

import fcntl
import json
import socket
import struct
import termios

import pytest

from backends import content, sha256
from nostr_wire import RelayConnection, signed
from processes import eventually
from programs import Curl, needed

COUNT = 300_000


def tls_exit(sandbox, relay, http, *options):
    return sandbox.exit(
        [relay.url], None, options=("--service", f"443={http.address}", f"80={http.address}", "--tls", "443", *options)
    )


def certificate(sandbox, name, *options):
    """Fetches the certificate. The exit publishes it after it has printed its name, when it has subscribed."""

    def published():
        process, status = sandbox.finished("cert", name, *options)
        return process.stdout if status == 0 else None

    pem = "\n".join(eventually(published)) + "\n"
    assert pem.startswith("-----BEGIN CERTIFICATE-----")
    return sandbox.write("authority.pem", pem)


def fetch(sandbox, entry, host, *options):
    """Fetches with curl over https; returns its exit status and the digest of the body."""
    body = sandbox.folder / "body"
    body.unlink(missing_ok=True)
    process = sandbox.spawn(
        needed("curl"), "-sS", "--max-time", 30, "--socks5-hostname", entry.socks, "-o", body, *options,
        f"https://{host}/bytes/{COUNT}",
    )  # fmt: skip
    status = process.wait()
    return status, sha256(body.read_bytes()) if body.exists() else None


def test_a_client_can_verify_the_service(sandbox, http):
    relay = sandbox.relay()
    exit_node = tls_exit(sandbox, relay, http)
    entry = sandbox.entry(relays=[relay.url])
    pem = certificate(sandbox, exit_node.name)
    good = (0, sha256(content(COUNT)))
    for host in (exit_node.name, exit_node.npub, f"{exit_node.npub}.nostr"):
        assert fetch(sandbox, entry, host, "--cacert", pem) == good
    # The exit must not log a failure because curl closes TLS first.
    exit_node.process.wait_for_log("stream ended")
    assert "reason=connection-reset" not in exit_node.process.describe()
    # Without the CA certificate, verification fails. Services without --tls are plain HTTP.
    assert fetch(sandbox, entry, exit_node.name)[0] == 60
    assert len(Curl(sandbox, entry, exit_node.name, "/bytes/100").body()) == 100


def test_what_was_trusted_once_holds_after_a_restart(sandbox, http):
    relay = sandbox.relay()
    exit_node = tls_exit(sandbox, relay, http)
    pem = certificate(sandbox, exit_node.nprofile)
    exit_node.process.kill()
    again = sandbox.exit([relay.url], None, options=("--port", "443", "--target", f"http://{http.address}"))
    assert again.name == exit_node.name
    entry = sandbox.entry()
    assert fetch(sandbox, entry, again.name, "--cacert", pem) == (0, sha256(content(COUNT)))


def unacknowledged(connection):
    """Returns how many sent bytes the other side has not acknowledged."""
    return struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, b"\0" * 4))[0]


def test_a_service_that_breaks_off_does_not_look_complete(sandbox, serve):
    def broken(connection):
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf")
        # The exit must have the data before the reset, which would overtake it.
        eventually(lambda: unacknowledged(connection) == 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url], None, options=("--service", f"443={serve(broken).address}", "--tls", "443"))
    entry = sandbox.entry()
    assert fetch(sandbox, entry, exit_node.name, "--cacert", certificate(sandbox, exit_node.name))[0] != 0


def test_the_certificate_is_there_again_after_the_relay_restarted(sandbox, http):
    relay = sandbox.relay()
    exit_node = tls_exit(sandbox, relay, http)
    certificate(sandbox, exit_node.name)
    relay.process.kill()
    sandbox.relay(listen=relay.address)
    eventually(lambda: sandbox.finished("cert", exit_node.name)[1] == 0)


def test_another_exit_cannot_pass_for_it(sandbox, http):
    relay = sandbox.relay()
    exit_node = tls_exit(sandbox, relay, http)
    other = sandbox.exit(
        [relay.url], None, key_file="other.key", options=("--service", f"443={http.address}", "--tls", "443")
    )
    entry = sandbox.entry()
    pem = certificate(sandbox, exit_node.name)
    assert fetch(sandbox, entry, other.name, "--cacert", pem)[0] == 60


def test_a_forged_certificate_is_not_printed(sandbox, http):
    relay = sandbox.relay()
    keys = sandbox.keys()
    exit_node = tls_exit(sandbox, relay, http)
    pem = certificate(sandbox, exit_node.name).read_text()
    # An attacker publishes another exit's certificate under their own key.
    connection = RelayConnection(relay.url)
    connection.socket.send(_event(keys, pem))
    connection.close()
    process, status = sandbox.finished("cert", keys.public_key().to_bech32(), "--relay", relay.url)
    assert status == 1 and "not limited to names of this exit" in process.stderr and not process.stdout


def _event(keys, text):
    return json.dumps(["EVENT", signed(keys, 38334, text, [["d", ""], ["p", keys.public_key().to_hex()]])])


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("nonsense",), "nws:"),
        (("{npub}",), "the name has no relays"),
        (("{npub}", "--relay", "ws://127.0.0.1:9"), "no relay responded"),
        (("{npub}", "--relay", "{relay}"), "check that it runs with --tls"),
    ],
)
def test_cert_says_what_is_wrong(sandbox, arguments, message):
    relay = sandbox.relay()
    npub = sandbox.keys().public_key().to_bech32()
    process, status = sandbox.finished("cert", *[a.format(npub=npub, relay=relay.url) for a in arguments])
    assert status == 1 and message in process.stderr and not process.stdout


def test_tls_needs_a_service(sandbox):
    process, status = sandbox.finished(
        "exit", "--relay", "ws://127.0.0.1:9", "--service", "80=127.0.0.1:80", "--tls", "443"
    )
    assert status == 78 and "port 443 has no service" in process.stderr
