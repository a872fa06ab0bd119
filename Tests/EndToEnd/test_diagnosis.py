# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""What ping and doctor say."""


def test_ping_measures_the_way(sandbox, http):
    relay, exit_node, _ = sandbox.tunnel(http.address)
    lines = sandbox.succeed("ping", exit_node.name, "--count", "3")
    assert [line.split(":")[0] for line in lines] == ["open", "open", "open", "relay", "speaks", "opened"]
    assert relay.url in lines[3] and "round trip" in lines[3]
    assert lines[4] == "speaks: session" and "3 of 3" in lines[5]
    assert "speaks: nip74" in sandbox.succeed("ping", exit_node.name, "--count", "1", "--dialect", "nip74")


def test_ping_says_where_it_fails(sandbox):
    _, exit_node, _ = sandbox.tunnel("127.0.0.1:9")
    process, status = sandbox.finished("ping", f"{exit_node.name}:22", "--count", "1")
    assert status == 1 and "failed: backend: " in process.describe()
    process, status = sandbox.finished("ping", "nonsense.nostr")
    assert status == 1 and "name: " in process.stderr and not process.stdout


def test_doctor_knows_good_relays(sandbox):
    relay = sandbox.relay()
    lines = sandbox.succeed("doctor", "--relay", relay.url)
    assert all(line.startswith("ok ") for line in lines)
    assert relay.url in lines[-1] and "full packets" in lines[-1]


def test_doctor_says_what_is_wrong(sandbox):
    small = sandbox.relay("--max-event-length", "40000")
    process, status = sandbox.finished("doctor", "--relay", small.url, "ws://127.0.0.1:9", "--key-file", "none")
    assert status == 1
    verdicts = {line.split()[1].removesuffix(":"): line.split()[0] for line in process.stdout}
    assert verdicts["key"] == "FAIL" and verdicts["ws://127.0.0.1:9"] == "FAIL" and verdicts[small.url] == "warn"
