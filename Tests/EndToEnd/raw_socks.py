# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""A SOCKS client that can send any bytes, valid or not."""

import ipaddress
import socket

from backends import read_exactly, read_to_end
from processes import TIMEOUT

CONNECT, BIND, UDP_ASSOCIATE = 1, 2, 3
SUCCEEDED, NOT_ALLOWED, HOST_UNREACHABLE, REFUSED, NO_COMMAND, NO_ADDRESS_TYPE = 0, 2, 4, 5, 7, 8


class SocksClient:
    """A connection to an entry."""

    def __init__(self, address, timeout=TIMEOUT):
        self.socket = socket.create_connection(address, timeout)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.socket.close()

    def greet(self, methods=b"\x00"):
        """Offers authentication methods; returns the one that the entry selects."""
        self.socket.sendall(b"\x05" + bytes([len(methods)]) + methods)
        version, method = read_exactly(self.socket, 2)
        assert version == 5
        return method

    def authenticate(self, user=b"user", password=b"password"):
        """Sends a user name and a password (RFC 1929); returns the status."""
        self.socket.sendall(b"\x01" + bytes([len(user)]) + user + bytes([len(password)]) + password)
        version, status = read_exactly(self.socket, 2)
        assert version == 1
        return status

    def request(self, host, port=80, command=CONNECT):
        """Requests a host (a name or an IP address); returns the reply code."""
        try:
            address = ipaddress.ip_address(host)
            encoded = bytes([1 if address.version == 4 else 4]) + address.packed
        except ValueError:
            encoded = b"\x03" + bytes([len(host)]) + host.encode()
        return self.raw_request(encoded, port, command)

    def raw_request(self, address, port=80, command=CONNECT):
        self.socket.sendall(bytes([5, command, 0]) + address + port.to_bytes(2, "big"))
        return self.reply()

    def reply(self):
        """Reads a reply; returns its code."""
        head = read_exactly(self.socket, 4)
        assert len(head) == 4, f"not a reply: {head!r}"
        version, code, reserved, kind = head
        assert (version, reserved) == (5, 0)
        assert kind in (1, 4)
        assert len(read_exactly(self.socket, {1: 4, 4: 16}[kind] + 2)) == {1: 6, 4: 18}[kind]
        return code

    def is_closed(self):
        """Waits; returns whether the entry closes the connection without sending another byte."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True


def reply_to(address, host, port=80, command=CONNECT):
    """Requests the host on a new connection; returns the reply code."""
    with SocksClient(address) as client:
        assert client.greet() == 0
        return client.request(host, port, command)


def open_stream(address, host, port=80):
    """Returns a connection to the host through the entry."""
    client = SocksClient(address, TIMEOUT * 2)
    assert client.greet() == 0
    code = client.request(host, port)
    assert code == SUCCEEDED, f"SOCKS reply {code}"
    return client


def http_get(address, host, path, port=80):
    """Fetches a path with HTTP/1.1, without an HTTP library; returns the body."""
    with open_stream(address, host, port) as client:
        client.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: backend\r\nConnection: close\r\n\r\n".encode())
        head, _, body = read_to_end(client.socket).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        return body
