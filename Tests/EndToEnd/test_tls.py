# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Relays with TLS, with certificates of a private CA."""

import socket
import ssl
import subprocess
import threading

import pytest

from backends import content, sha256
from processes import eventually
from programs import Curl, needed


def certificate(folder, host="localhost"):
    """Creates a CA and a certificate for the host; returns the paths of CA certificate, certificate and key."""
    openssl = needed("openssl")

    def run(*arguments):
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True, timeout=60)

    run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Test authority")  # fmt: skip
    run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-keyout", "server.key", "-out", "server.csr", "-subj", f"/CN={host}")  # fmt: skip
    (folder / "extensions").write_text(f"subjectAltName=DNS:{host}\n")
    run("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
        "-extfile", "extensions", "-out", "server.pem")  # fmt: skip
    return folder / "ca.pem", folder / "server.pem", folder / "server.key"


class TLSFront:
    """A TLS server that forwards the decrypted bytes to an address."""

    def __init__(self, target, chain, key):
        self.target = target
        self.indications = []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(chain, key)
        self.context.sni_callback = lambda _socket, name, _context: self.indications.append(name)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain):
        try:
            front = self.context.wrap_socket(plain, server_side=True)
        except (OSError, ssl.SSLError):
            plain.close()
            return
        host, port = self.target.rsplit(":", 1)
        back = socket.create_connection((host, int(port)))
        threading.Thread(target=self._copy, args=(back, front), daemon=True).start()
        self._copy(front, back)

    @staticmethod
    def _copy(source, sink):
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
        except (OSError, ssl.SSLError):
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


@pytest.fixture
def front(sandbox):
    authority, chain, key = certificate(sandbox.folder)
    front = sandbox.closing(TLSFront(sandbox.relay().address, chain, key))
    front.authority = authority
    return front


def test_tunnel_through_a_relay_behind_tls(sandbox, http, front):
    url = f"wss://localhost:{front.port}"
    starting = sandbox.nws("exit", "--relay", url, "--backend", http.address, "--key-file", "exit.key",
                           "--ca-file", front.authority)  # fmt: skip
    name = starting.value("name")
    entry = sandbox.entry("--ca-file", front.authority)
    assert Curl(sandbox, entry, name, "/bytes/100000").digest() == sha256(content(100_000))
    assert set(front.indications) == {"localhost"}


def test_certificate_of_an_unknown_authority_is_refused(sandbox, front):
    exit_node = sandbox.starting_exit([f"wss://localhost:{front.port}"])
    exit_node.wait_for(lambda line: "relay down" in line and "certificate is not trusted" in line, stream="stderr")
    assert exit_node.stdout == []


def test_certificate_for_another_host_is_refused(sandbox, front):
    exit_node = sandbox.nws("exit", "--relay", f"wss://127.0.0.1:{front.port}", "--backend", "127.0.0.1:9",
                            "--key-file", "exit.key", "--ca-file", front.authority)  # fmt: skip
    exit_node.wait_for(lambda line: "relay down" in line and "127.0.0.1" in line, stream="stderr")
    assert exit_node.stdout == []


# A relay's own TLS


def test_a_relay_ends_tls_itself_and_takes_a_renewed_certificate(sandbox, http):
    authority, chain, key = certificate(sandbox.folder)
    key.chmod(0o600)
    relay = sandbox.relay("--tls-cert", chain, "--tls-key", key)
    port = int(relay.url.rsplit(":", 1)[1])
    url = f"wss://localhost:{port}"
    exit_node = sandbox.exit([url], http.address, options=("--ca-file", authority))
    entry = sandbox.entry("--ca-file", authority)
    count = 1_000_000
    assert Curl(sandbox, entry, exit_node.name, f"/bytes/{count}").digest() == sha256(content(count))

    def shown():
        return ssl.get_server_certificate(("127.0.0.1", port))

    before = shown()
    renewed = sandbox.folder / "renewed"
    renewed.mkdir()
    _, new_chain, new_key = certificate(renewed)
    key.write_bytes(new_key.read_bytes())
    chain.write_bytes(new_chain.read_bytes())
    eventually(lambda: shown() != before)
    # Existing connections continue.
    assert Curl(sandbox, entry, exit_node.name, "/bytes/100").body() == content(100)


def test_a_public_url_is_what_the_relay_prints(sandbox):
    assert sandbox.relay("--public-url", "wss://relay.example").url == "wss://relay.example"


def test_tls_begins_only_with_a_restart(sandbox):
    _, chain, key = certificate(sandbox.folder)
    key.chmod(0o600)
    file = sandbox.write("relay.yaml", "max-filters: 9\n")
    relay = sandbox.relay("--config", file)
    file.write_text(f"tls-cert: {chain}\ntls-key: {key}\n")
    relay.process.wait_for_log("enabling or disabling TLS requires a restart")
    assert relay.process.is_running
