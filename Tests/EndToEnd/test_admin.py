# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""The admin server of a node: status page, metrics and health checks."""

import json
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from nostr_wire import RelayConnection, signed
from processes import eventually
from programs import Curl
from raw_socks import NOT_ALLOWED, reply_to
from test_devices import Home, entry_of, fetch


def ask(url, **headers):
    """Sends a GET request; returns status, body and headers."""
    request = urllib.request.Request(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers


@pytest.fixture
def watched(sandbox, http):
    """A tunnel whose three nodes run the admin server, after a download."""
    relay = sandbox.relay("--admin", "127.0.0.1:0")
    exit_node = sandbox.exit([relay.url, "ws://127.0.0.1:9"], http.address, options=("--admin", "127.0.0.1:0"))
    entry = sandbox.entry("--admin", "127.0.0.1:0")
    assert len(Curl(sandbox, entry, exit_node.name, "/bytes/100000").body()) == 100_000
    return relay, exit_node, entry


def pages(node):
    return node.process.value("admin").rstrip("/")


def report(node):
    status, body, _ = ask(pages(node) + "/status.json")
    assert status == 200
    return json.loads(body)


def test_the_report_tells_what_goes_on(sandbox, watched):
    relay, exit_node, entry = watched
    eventually(lambda: report(entry)["receivedBytes"] >= 100_000 and report(exit_node)["sentBytes"] >= 100_000)
    at_exit = report(exit_node)
    assert (at_exit["role"], at_exit["name"], at_exit["isReady"]) == ("exit", exit_node.name, True)
    by_url = {relay["url"]: relay for relay in at_exit["relays"]}
    assert by_url[relay.url]["isUp"] and by_url[relay.url]["roundTrip"] > 0 and by_url[relay.url]["sessions"] == 1
    assert not by_url["ws://127.0.0.1:9"]["isUp"] and by_url["ws://127.0.0.1:9"]["error"]
    at_entry = report(entry)
    assert at_entry["sessions"][0]["peer"] == exit_node.npub and at_entry["sessions"][0]["protocol"] == "session"
    assert max(at_entry["receivedRates"]) > 0
    eventually(lambda: report(relay)["connections"] >= 3)
    eventually(lambda: sum(relay["bytes"] for relay in report(exit_node)["relays"]) > 100_000)
    assert all("rate" in relay for relay in report(exit_node)["relays"])
    eventually(lambda: report(relay)["receivedBytes"] > 100_000 and report(relay)["sentBytes"] > 100_000)
    assert max(report(relay)["receivedRates"]) > 0


def test_metrics_are_what_prometheus_reads(sandbox, watched):
    for node in watched:
        status, body, headers = ask(pages(node) + "/metrics")
        assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
        families = {family.name: family for family in text_string_to_metric_families(body)}
        assert all(family.type in ("counter", "gauge") for family in families.values())
        assert all(name.startswith("nws_") for name in families), families.keys()
        # Every metric has a type and a help text, and no series occurs twice.
        assert all(family.documentation for family in families.values()), [
            name for name, family in families.items() if not family.documentation
        ]
        for family in families.values():
            series = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in family.samples]
            assert len(series) == len(set(series))
    body = ask(pages(watched[2]) + "/metrics")[1]
    families = {family.name: family for family in text_string_to_metric_families(body)}
    eventually(
        lambda: next(
            family.samples[0].value
            for family in text_string_to_metric_families(ask(pages(watched[2]) + "/metrics")[1])
            if family.name == "nws_tunnel_received_bytes"
        )
        >= 1
    )
    assert families["nws_tunnel_sessions_opened"].samples[0].value == 1


def test_health_and_readiness(sandbox, http):
    waiting = sandbox.starting_exit(["ws://127.0.0.1:9"], http.address, options=("--admin", "127.0.0.1:0"))
    url = waiting.value("admin").rstrip("/")
    assert ask(url + "/healthz")[0] == 200
    assert ask(url + "/readyz")[0] == 503
    relay = sandbox.relay()
    ready = sandbox.exit([relay.url], http.address, key_file="other.key", options=("--admin", "127.0.0.1:0"))
    eventually(lambda: ask(pages(ready) + "/readyz")[0] == 200)


def test_the_page_needs_nothing_from_elsewhere(sandbox):
    relay = sandbox.relay("--admin", "127.0.0.1:0")
    for path, kind in (("/", "text/html"), ("/status.css", "text/css"), ("/status.js", "text/javascript")):
        status, body, headers = ask(pages(relay) + path)
        assert status == 200 and headers["Content-Type"].startswith(kind)
        assert "http://" not in body and "https://" not in body and "//cdn" not in body
        assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_other_sites_and_other_names_are_not_answered(sandbox):
    relay = sandbox.relay("--admin", "127.0.0.1:0")
    url = pages(relay)
    for path in ("/", "/status.json", "/metrics"):
        assert ask(url + path, Host="rebound.example")[0] == 403
        assert ask(url + path, Origin="http://evil.example")[0] == 403
    assert ask(url + "/status.json", Origin=url)[0] == 200
    assert ask(url + "/nothing")[0] == 404


def test_a_token_guards_the_pages(sandbox):
    sandbox.write("token", "correct-horse-battery\n")
    relay = sandbox.relay("--admin", "127.0.0.1:0", "--admin-token", "token")
    url = pages(relay)
    for path in ("/", "/status.json", "/metrics"):
        assert ask(url + path)[0] == 401
        assert ask(url + path, Authorization="Bearer wrong-horse-battery")[0] == 401
        assert ask(url + path, Authorization="Bearer correct-horse-battery")[0] == 200
        assert ask(url + path + "?token=correct-horse-battery")[0] == 200
    assert ask(url + "/healthz")[0] == 200
    assert "correct-horse-battery" not in relay.process.output


@pytest.mark.parametrize(
    "options, message",
    [
        (("--admin", "0.0.0.0:0"), "--admin-token"),
        (("--admin-token", "token"), "has no effect without --admin"),
        (("--admin", "127.0.0.1:0", "--admin-token", "short"), "16 to 256"),
        (("--admin", "127.0.0.1:0", "--admin-token", "open"), "chmod 600"),
        (("--admin", "nonsense"), "--admin"),
    ],
)
def test_pages_that_would_be_open_are_refused(sandbox, options, message):
    sandbox.write("token", "correct-horse-battery\n")
    sandbox.write("short", "short\n")
    sandbox.write("open", "correct-horse-battery\n", mode=0o644)
    process, status = sandbox.finished("relay", "--listen", "127.0.0.1:0", *options)
    assert status == 78 and message in process.stderr, process.describe()


def test_status_in_the_terminal(sandbox, watched):
    relay, exit_node, entry = watched
    eventually(lambda: report(exit_node)["sentBytes"] >= 100_000)
    shown = "\n".join(sandbox.succeed("status", pages(exit_node).removeprefix("http://")))
    assert "exit" in shown and exit_node.name in shown and relay.url in shown
    assert json.loads(sandbox.succeed("status", "--json", pages(relay).removeprefix("http://"))[0])["role"] == "relay"
    process, status = sandbox.finished("status", "127.0.0.1:9")
    assert status == 1 and "--admin" in process.stderr


def test_the_report_names_services_devices_and_the_work_of_a_relay(sandbox, http):
    relay = sandbox.relay("--admin", "127.0.0.1:0", "--tunnel-only")
    home, laptop = Home(sandbox, "home"), Home(sandbox, "laptop")
    share = home.share(f"80={http.address}", "22=9", "--relay", relay.url, "--admin", "127.0.0.1:0")
    laptop.join(home.invite("my laptop"))
    process, socks = entry_of(laptop, "--admin", "127.0.0.1:0")
    assert len(fetch(f"socks5h://{socks[0]}:{socks[1]}", "http://home.nostr/bytes/1000")) == 1000

    def of(process):
        return json.loads(ask(process.value("admin").rstrip("/") + "/status.json")[1])

    eventually(lambda: [session.get("device") for session in of(share)["sessions"]] == ["my laptop"])
    assert of(share)["services"] == [
        {"port": 22, "target": "localhost:9"}, {"port": 80, "target": http.address}
    ]  # fmt: skip
    eventually(lambda: [session.get("device") for session in of(process)["sessions"]] == ["home.nostr"])
    with RelayConnection(relay.url) as connection:
        connection.refuses(signed(sandbox.keys(), 1, "not for tunnels"), "blocked")
    eventually(lambda: report(relay)["work"]["rejections"] == {"kind_not_accepted": 1})
    work = report(relay)["work"]
    assert work["accepted"] > 0 and work["delivered"] > 0 and work["subscriptions"] > 0
    text = "\n".join(sandbox.succeed("status", relay.process.value("admin")))
    assert "kind_not_accepted" in text and "subscriptions" in text
    text = "\n".join(sandbox.succeed("status", share.value("admin")))
    assert "my laptop" in text and "localhost:9" in text


def test_repeated_problems_are_counted(sandbox, http):
    relay = sandbox.relay()
    home, laptop = Home(sandbox, "home"), Home(sandbox, "laptop")
    home.share(f"80={http.address}", "--relay", relay.url)
    laptop.join(home.invite())
    process, socks = entry_of(laptop, "--admin", "127.0.0.1:0")
    for _ in range(3):
        assert reply_to(socks, "home.nostr", 99) == NOT_ALLOWED
    url = process.value("admin").rstrip("/") + "/status.json"
    eventually(lambda: [problem["count"] for problem in json.loads(ask(url)[1])["problems"]] == [3])
