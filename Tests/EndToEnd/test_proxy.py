# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Other ways to use the tunnel: SOCKS4a, HTTP proxy, forwarded ports, and standard input and output."""

import base64
import socket
import subprocess

import pytest

from backends import TCPBackend, content, echo, read_exactly, read_to_end, sha256
from programs import needed
from raw_socks import SUCCEEDED, SocksClient, open_stream
from sandbox import BINARY


def curl(sandbox, *arguments):
    """Runs curl; returns its exit status, its output (the HTTP status), and the response body."""
    body = sandbox.folder / "body"
    body.unlink(missing_ok=True)
    process = sandbox.spawn(needed("curl"), "-sS", "--max-time", 30, "-o", body, "-w", "%{http_code}\n", *arguments)
    status = process.wait()
    return status, process.stdout, body.read_bytes() if body.exists() else b""


def talk(address, data):
    """Sends bytes; returns everything received until the peer closes the connection."""
    with socket.create_connection(address, 20) as client:
        client.sendall(data)
        return read_to_end(client)


# SOCKS4a and HTTP


def test_socks4a(sandbox, http):
    _, exit_node, entry = sandbox.tunnel(http.address)
    status, _, body = curl(sandbox, "--socks4a", entry.socks, f"http://{exit_node.name}/bytes/70000")
    assert status == 0 and body == content(70000)


def test_http_connect(sandbox, http):
    _, exit_node, entry = sandbox.tunnel(http.address)
    status, _, body = curl(sandbox, "-p", "--proxy", entry.socks, f"http://{exit_node.name}/bytes/1000000")
    assert status == 0 and sha256(body) == sha256(content(1000000))


def test_plain_http(sandbox, http):
    _, exit_node, entry = sandbox.tunnel(http.address)
    status, printed, body = curl(sandbox, "--proxy", entry.socks, f"http://{exit_node.name}/bytes/1000000")
    assert (status, printed) == (0, ["200"]) and sha256(body) == sha256(content(1000000))


def test_plain_http_upload(sandbox, http):
    _, exit_node, entry = sandbox.tunnel(http.address)
    file = sandbox.folder / "up"
    file.write_bytes(content(1_000_000))
    status, printed, body = curl(sandbox, "--proxy", entry.socks, "-T", file, f"http://{exit_node.name}/up")
    assert (status, printed) == (0, ["200"]) and sha256(content(1_000_000)) in body.decode()


def response(body, *fields):
    head = "\r\n".join(("HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *fields))
    return head.encode() + b"\r\n\r\n" + body


def serve_requests(connection, tag=b""):
    """Answers each request with its path after a tag."""
    data = b""
    while part := connection.recv(65536):
        data += part
        while b"\r\n\r\n" in data:
            head, _, data = data.partition(b"\r\n\r\n")
            connection.sendall(response(tag + head.split(b" ")[1]))


def read_response(client):
    """Reads a response with Content-Length; returns its body."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += read_exactly(client, 1)
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
    return read_exactly(client, int(fields[b"content-length"]))


def two_services(sandbox):
    """Two services that name themselves; returns the names of their exits."""
    relay = sandbox.relay()
    names = []
    for tag in (b"A", b"B"):
        backend = sandbox.closing(TCPBackend(lambda connection, tag=tag: serve_requests(connection, tag)))
        names.append(sandbox.exit([relay.url], backend.address, key_file=f"{tag.decode()}.key").name)
    return names


def test_a_client_keeps_its_connection_between_requests(sandbox):
    backend = sandbox.closing(TCPBackend(serve_requests))
    _, exit_node, entry = sandbox.tunnel(backend.address)
    urls = [f"http://{exit_node.name}/{number}" for number in range(3)]
    process = sandbox.spawn(
        needed("curl"), "-sS", "--max-time", 30, "--proxy", entry.socks, "-w", " %{num_connects}\n", *urls
    )
    assert process.wait() == 0
    assert process.stdout == ["/0 1", "/1 0", "/2 0"]
    assert backend.connections == 1


def test_after_a_response_whose_end_is_uncertain_the_next_request_is_answered(sandbox):
    """The service ends the lines of its header with LF alone."""

    def serve(connection):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok")
        connection.recv(65536)

    backend = sandbox.closing(TCPBackend(serve))
    _, exit_node, entry = sandbox.tunnel(backend.address)
    url = f"http://{exit_node.name}/"
    process = sandbox.spawn(needed("curl"), "-sS", "--max-time", 20, "--proxy", entry.socks, url, url)
    assert process.wait() == 0, process.describe()
    assert process.stdout == ["okok"]


def test_a_service_that_closes_without_an_answer_gives_502(sandbox):
    backend = sandbox.closing(TCPBackend(lambda connection: connection.recv(65536)))
    _, exit_node, entry = sandbox.tunnel(backend.address)
    url = f"http://{exit_node.name}/"
    process = sandbox.spawn(needed("curl"), "-sS", "--max-time", 20, "-w", "%{http_code}", "--proxy", entry.socks, url)
    assert process.wait() == 0, process.describe()
    assert process.stdout[-1].endswith("502") and "without an answer" in process.output


def test_requests_for_two_services_on_one_connection_are_answered_in_order(sandbox):
    one, other = two_services(sandbox)
    entry = sandbox.entry()
    urls = [(one, b"A"), (one, b"A"), (other, b"B"), (one, b"A"), (other, b"B")]
    sent = "".join(f"GET http://{name}/{index} HTTP/1.1\r\nHost: x\r\n\r\n" for index, (name, _) in enumerate(urls))
    with socket.create_connection(entry.address, 20) as client:
        client.sendall(sent.encode())
        assert [read_response(client) for _ in urls] == [b"%s/%d" % (tag, index) for index, (_, tag) in enumerate(urls)]


def test_after_a_refused_upgrade_the_next_request_goes_to_its_own_service(sandbox):
    one, other = two_services(sandbox)
    entry = sandbox.entry()
    process = sandbox.spawn(
        needed("curl"), "-sS", "--max-time", 30, "--http2", "--proxy", entry.socks, "-w", " %{num_connects}\n",
        f"http://{one}/1", f"http://{other}/2",
    )
    assert process.wait() == 0 and process.stdout == ["A/1 1", "B/2 0"]


@pytest.mark.parametrize("request_line", ["CONNECT {}:80", "GET http://{}/"])
def test_an_optimistic_entry_serves_one_client_after_another(sandbox, request_line):
    name, _ = two_services(sandbox)
    entry = sandbox.entry("--optimistic")
    for _ in range(3):
        with socket.create_connection(entry.address, 20) as client:
            client.sendall(f"{request_line.format(name)} HTTP/1.1\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n".encode())
            if request_line.startswith("CONNECT"):
                assert read_exactly(client, 39) == b"HTTP/1.1 200 Connection established\r\n\r\n"
                client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert read_response(client) == b"A/"


def test_an_upgrade_is_passed_on(sandbox):
    seen = []

    def serve(connection):
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(65536)
        seen.append(head)
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n")
        echo(connection)

    backend = sandbox.closing(TCPBackend(serve))
    _, exit_node, entry = sandbox.tunnel(backend.address)
    request = f"GET http://{exit_node.name}/ HTTP/1.1\r\nHost: x\r\nUpgrade: echo\r\nConnection: keep-alive, Upgrade\r\n\r\n"
    with socket.create_connection(entry.address, 20) as client:
        client.sendall(request.encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += read_exactly(client, 1)
        assert head.startswith(b"HTTP/1.1 101 ")
        for data in (b"first", b"GET / HTTP/1.1 is no request here\r\n\r\n"):
            client.sendall(data)
            assert read_exactly(client, len(data)) == data
    assert b"Upgrade: echo" in seen[0] and b"upgrade" in seen[0].split(b"Connection:")[1].split(b"\r\n")[0]


@pytest.mark.parametrize("reader", ["prompt", "slow"])
@pytest.mark.parametrize("way", ["socks", "http"])
def test_an_early_error_reaches_a_client_that_is_still_sending(sandbox, way, reader):
    answer = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 20000\r\nConnection: close\r\n\r\n" + b"x" * 20_000

    def serve(connection):
        connection.recv(1000)
        # Closing with unread bytes resets the connection.
        connection.sendall(answer)

    backend = sandbox.closing(TCPBackend(serve))
    _, exit_node, entry = sandbox.tunnel(backend.address)

    def received():
        if way == "socks":
            client = open_stream(entry.address, exit_node.name).socket
            target = "/"
        else:
            client = socket.create_connection(entry.address, 20)
            target = f"http://{exit_node.name}/"
        with client:
            data = b""
            if reader == "slow":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            try:
                client.sendall(f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 400000\r\n\r\n".encode())
                for _ in range(40):
                    client.sendall(b"y" * 10_000)
            except OSError:
                pass
            try:
                while part := client.recv(1000 if reader == "slow" else 65536):
                    data += part
            except OSError:
                pass
            return data

    assert [len(received()) for _ in range(10)] == [len(answer)] * 10


def test_the_failure_page_names_the_hop_and_shows_nothing_raw(sandbox):
    _, exit_node, entry = sandbox.tunnel("127.0.0.1:9")
    status, printed, body = curl(sandbox, "--proxy", entry.socks, f"http://{exit_node.name}/")
    page = body.decode()
    assert printed == ["502"] and "The service does not answer" in page and "What to try" in page
    answer = talk(entry.address, b"GET http://<script>alert(1)</script>.nostr/ HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"<script>" not in answer


def test_the_settings_for_browsers(sandbox):
    entry = sandbox.entry()
    status, printed, body = curl(sandbox, f"http://{entry.socks}/proxy.pac")
    assert printed == ["200"] and f"PROXY {entry.socks}" in body.decode()
    answer = talk(entry.address, b"GET /proxy.pac HTTP/1.1\r\nHost: \";alert(1)//\r\n\r\n")
    assert b"alert" not in answer


def test_the_http_proxy_wants_the_password(sandbox, http):
    sandbox.write("credentials", "alice:in wonderland\n")
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url], http.address)
    entry = sandbox.entry("--credentials-file", "credentials")
    url = f"http://{exit_node.name}/bytes/100"
    assert curl(sandbox, "--proxy", entry.socks, url)[1] == ["407"]
    assert curl(sandbox, "--proxy", entry.socks, "-U", "alice:wrong", url)[1] == ["407"]
    assert curl(sandbox, "--proxy", entry.socks, "-U", "alice:in wonderland", url)[1] == ["200"]
    answer = talk(entry.address, b"CONNECT x.nostr:1 HTTP/1.1\r\nProxy-Authorization: Basic !!\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 407") and b"Proxy-Authenticate" in answer


# Isolation


def test_credentials_keep_sessions_and_connections_apart(sandbox, http):
    relay, exit_node, entry = sandbox.tunnel(http.address, "--log-level", "debug")
    for user in ("a:1", "a:2", "a:1", "b:1"):
        status, _, _ = curl(sandbox, "--proxy", entry.socks, "-U", user, f"http://{exit_node.name}/bytes/10")
        assert status == 0
    ups = [line for line in entry.process.stderr.splitlines() if "relay connected" in line]
    assert len(ups) == 3
    encoded = base64.b64encode(b"a:1").decode()
    assert encoded not in entry.process.stderr and "a:1" not in entry.process.stderr


@pytest.mark.parametrize("relays", [1, 3])
def test_more_identities_than_connections_make_room_for_each_other(sandbox, relays):
    """An entry opens at most 256 relay connections; each identity needs its own to each relay of the exit."""
    urls = [sandbox.relay().url for _ in range(relays)]
    exit_node = sandbox.exit(urls, sandbox.closing(TCPBackend(echo)).address)
    entry = sandbox.entry(relays=urls)
    with SocksClient(entry.address) as stays:
        assert stays.greet(b"\x02") == 2
        assert stays.authenticate(b"stays") == 0
        assert stays.request(exit_node.name) == SUCCEEDED
        for number in range(300 // relays):
            with SocksClient(entry.address) as client:
                assert client.greet(b"\x02") == 2
                assert client.authenticate(f"identity-{number}".encode()) == 0
                assert client.request(exit_node.name) == SUCCEEDED, number
                client.socket.sendall(b"?")
                assert read_exactly(client.socket, 1) == b"?"
        stays.socket.sendall(b"still here")
        assert read_exactly(stays.socket, 10) == b"still here"


# Forwarded ports, standard input and output


def test_forwards(sandbox, http):
    echoing = sandbox.closing(TCPBackend(echo))
    relay = sandbox.relay()
    exit_node = sandbox.exit(
        [relay.url], None, options=("--service", f"80={http.address}", f"7={echoing.address}", "9=127.0.0.1:9")
    )
    name = exit_node.name
    process = sandbox.nws(
        "forward", "127.0.0.1:0", f"{name}:80", "127.0.0.1:0", f"{name}:7", "127.0.0.1:0", f"{name}:9"
    )
    process.wait_for(lambda line: line.endswith(":9"))
    places = [line.split()[1].rsplit(":", 1) for line in process.stdout if line.startswith("forward: ")]
    web, echoes, dead = [(host, int(port)) for host, port in places]
    status, _, body = curl(sandbox, f"http://{web[0]}:{web[1]}/bytes/1000")
    assert status == 0 and body == content(1000)
    with socket.create_connection(echoes, 20) as client:
        client.sendall(b"hello")
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == b"hello"
    # If the target cannot be reached, the connection is reset instead of closed cleanly.
    with pytest.raises(ConnectionResetError), socket.create_connection(dead, 20) as client:
        client.recv(1)


def connect(sandbox, target, **options):
    return subprocess.run(
        [BINARY, "connect", target], env=sandbox.environment, cwd=sandbox.folder, timeout=60, **options
    )


def test_standard_input_and_output(sandbox):
    echoing = sandbox.closing(TCPBackend(echo))
    _, exit_node, _ = sandbox.tunnel(echoing.address)
    data = content(3_000_000)
    done = connect(sandbox, f"{exit_node.name}:22", input=data, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"") and done.stdout == data
    # Also with files instead of pipes.
    (sandbox.folder / "in").write_bytes(data)
    with open(sandbox.folder / "in", "rb") as source, open(sandbox.folder / "out", "wb") as sink:
        assert connect(sandbox, f"{exit_node.name}:22", stdin=source, stdout=sink).returncode == 0
    assert (sandbox.folder / "out").read_bytes() == data


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&- 2>&-"])
def test_connect_without_standard_streams(sandbox, closed):
    echoing = sandbox.closing(TCPBackend(echo))
    _, exit_node, _ = sandbox.tunnel(echoing.address)
    command = f'"$0" connect "$1" {closed}'
    done = subprocess.run(
        ["sh", "-c", command, BINARY, f"{exit_node.name}:22"],
        env=sandbox.environment, cwd=sandbox.folder, timeout=60, input=b"", capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_connect_is_silent_when_whoever_started_it_goes(sandbox):
    """ssh and git exit like this, without reading the last bytes."""
    echoing = sandbox.closing(TCPBackend(echo))
    _, exit_node, _ = sandbox.tunnel(echoing.address)
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [BINARY, "connect", f"{exit_node.name}:22"],
        stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env=sandbox.environment, cwd=sandbox.folder,
    )  # fmt: skip
    with process:
        theirs.close()
        ours.sendall(b"some bytes")
        # Leave some bytes unread, so that closing the socket resets the connection.
        assert ours.recv(1) == b"s"
        ours.close()
        assert (process.wait(60), process.stderr.read()) == (0, b"")


def test_connect_says_where_it_failed(sandbox):
    _, exit_node, _ = sandbox.tunnel("127.0.0.1:9")
    done = connect(sandbox, f"{exit_node.name}:22", input=b"", capture_output=True)
    assert done.returncode == 1 and done.stdout == b""
    assert done.stderr.startswith(b"nws: backend: ") and done.stderr.count(b"\n") == 1
    assert connect(sandbox, exit_node.name, input=b"", capture_output=True).returncode == 78


# Invalid targets and remote clients


NPUB = "npub1qy00nqcvxd7dnhhue36ys3ss2uy7kfkzd0cmhgy3vr6gp0s6wzwsn8ncnv"


@pytest.mark.parametrize("command", [("entry", "--listen"), ("forward",)])
def test_other_machines_are_let_in_only_on_purpose(sandbox, command):
    target = (f"{NPUB}:1", "--relay", "ws://127.0.0.1:1") if command[0] == "forward" else ()
    process, status = sandbox.finished(*command, "0.0.0.0:0", *target)
    assert status == 78 and "--allow-remote-clients" in process.stderr
    if command[0] == "entry":
        entry = sandbox.entry("--allow-remote-clients", listen="0.0.0.0:0")
        entry.process.wait_for_log("other machines can use this entry")


def test_output_that_cannot_be_written_is_no_success(sandbox):
    echoing = sandbox.closing(TCPBackend(echo))
    _, exit_node, _ = sandbox.tunnel(echoing.address)
    with open("/dev/full", "wb") as full:
        done = connect(sandbox, f"{exit_node.name}:22", input=b"data", stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1 and b"standard output: No space left" in done.stderr
