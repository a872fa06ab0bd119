# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""nws share, and the devices that join it: invites, aliases, revocation."""

import os
import re
import subprocess
import threading
import time

import pytest

from backends import HTTPBackend, TCPBackend, echo
from homes import Home
from processes import eventually
from programs import needed
from raw_socks import NOT_ALLOWED, SUCCEEDED, reply_to
from sandbox import BINARY

REVOKED = "the exit's owner has revoked the authorization of this device"


@pytest.fixture
def relay(sandbox):
    return sandbox.relay()


@pytest.fixture
def web(sandbox):
    return sandbox.closing(HTTPBackend())


def shared(home, relay, *services):
    return home.share(*services, "--relay", relay.url)


def entry_of(device, *options):
    process = device.start("entry", "--listen", "127.0.0.1:0", *options)
    host, port = process.value("socks").rsplit(":", 1)
    return process, (host, int(port))


def fetch(proxy, url, timeout=20):
    """Returns what curl fetches, through a proxy if there is one."""
    options = ["--proxy", proxy] if proxy else []
    command = [needed("curl"), "-sS", "--fail", "--max-time", str(timeout), *options, url]
    return subprocess.run(command, capture_output=True, check=True).stdout


def test_a_device_joins_and_uses_the_services_by_alias(sandbox, home, laptop, relay, web):
    process = shared(home, relay, f"80={web.address}", "22=9")
    process.wait_for(lambda line: line.endswith(" invite"))
    assert "cannot connect to the service" in process.stderr
    key = home.folder / ".local/state/nws/key"
    assert key.stat().st_mode & 0o777 == 0o600
    process.wait_for(lambda line: str(key) in line)
    output = laptop.join(home.invite("laptop"))
    assert "enrolled: home" in output and "services: 22,80" in output
    assert "USER@home.nostr" in output and "http://home.nostr/" in output
    _, socks = entry_of(laptop)
    assert len(fetch(f"socks5h://{socks[0]}:{socks[1]}", "http://home.nostr/bytes/1000")) == 1000
    # The name of a virtual host.
    assert len(fetch(f"http://{socks[0]}:{socks[1]}", "http://www.home.nostr/bytes/10")) == 10
    assert "opened: 2 of 2" in laptop.succeed("ping", "home:80", "--count", "2")
    assert "opened: 1 of 1" in laptop.succeed("ping", "http://HOME.nostr/", "--count", "1")
    listed = home.succeed("devices")
    assert "laptop" in listed and "all" in listed
    assert "laptop" in process.output.split("device enrolled", 1)[1]


def test_an_invite_is_for_one_device(sandbox, home, laptop, relay, web):
    process = shared(home, relay, f"80={web.address}")
    invite = home.invite()
    laptop.join(invite, "--device-name", "my laptop")
    assert "used by another device, or revoked" in Home(sandbox, "phone").fail("join", text=invite)
    eventually(lambda: "invite refused: it was used or revoked" in process.stderr)
    assert "my laptop" in home.succeed("devices")
    # The device itself may repeat the command, for example because the answer was lost.
    assert "enrolled: home" in laptop.join(invite)


def test_of_two_devices_at_once_one_joins(sandbox, home, relay, web):
    shared(home, relay, f"80={web.address}")
    invite = home.invite()
    results = []
    threads = [
        threading.Thread(target=lambda device=device: results.append(device.run("join", text=invite).returncode))
        for device in [Home(sandbox, f"device{number}") for number in range(4)]
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(bool, results)) == [False, True, True, True]
    assert home.succeed("devices").count("npub1") == 1


def test_an_expired_invite_is_refused_with_its_reason_at_both_ends(home, laptop, relay, web):
    process = shared(home, relay, f"80={web.address}")
    invite = home.invite("phone", "--expires", "1s")
    time.sleep(1.1)
    assert "the invite has expired" in laptop.fail("join", text=invite)
    # A device whose clock is behind asks the exit, which knows better.
    process.kill()
    devices = home.folder / ".local/state/nws/devices"
    invite = home.invite("tablet", "--expires", "1h")
    devices.write_text(re.sub(r'expires="[^"]*"( invite:\w+ tablet)', r'expires="2026-01-01"\1', devices.read_text()))
    process = shared(home, relay, f"80={web.address}")
    assert "the invite has expired" in laptop.fail("join", text=invite)
    eventually(lambda: "invite refused: it has expired device=tablet" in process.stderr)


def test_a_wrong_or_withdrawn_invite(home, laptop, relay, web):
    process = shared(home, relay, f"80={web.address}")
    invite = home.invite("phone")
    assert "a character is wrong" in laptop.fail("join", text=invite[:-5] + "qqqqq")
    assert "expected a line that begins with nwsinvite1" in laptop.fail("join", text="npub1abc")
    eventually(lambda: "configuration reloaded" in process.stderr)
    assert "revoked: invite phone" in home.succeed("devices", "revoke", "phone")
    eventually(lambda: process.stderr.count("configuration reloaded") == 2)
    assert "used by another device, or revoked" in laptop.fail("join", text=invite)


def test_an_unknown_invite_gets_no_answer(sandbox, home, laptop, relay, web):
    process = shared(home, relay, f"80={web.address}")
    invite = home.invite()
    process.kill()
    (home.folder / ".local/state/nws/devices").write_text("")
    shared(home, relay, f"80={web.address}")
    error = laptop.fail("join", text=invite)
    assert "it is offline, or this device is not authorized" in error


def test_the_invite_is_not_taken_from_the_arguments(home, laptop, relay, web):
    shared(home, relay, f"80={web.address}")
    invite = home.invite()
    error = laptop.fail("join", invite)
    assert "other users of this machine can see it" in error and invite not in error


def test_an_invite_for_some_services(home, laptop, relay, web, sandbox):
    backend = sandbox.closing(TCPBackend(echo))
    process = shared(home, relay, f"80={web.address}", f"22={backend.address}")
    output = laptop.join(home.invite("guest", "--services", "22"))
    assert "services: 22\n" in output
    entry, socks = entry_of(laptop)
    assert reply_to(socks, "home.nostr", 22) == SUCCEEDED
    assert reply_to(socks, "home.nostr", 80) == NOT_ALLOWED
    process.wait_for_log("the device is not allowed to use this service device=guest")
    entry.wait_for_log("the exit knows this device, but has no service at this port for it")


def test_a_revoked_device_learns_it(home, laptop, relay, web):
    process = shared(home, relay, f"80={web.address}")
    laptop.join(home.invite("laptop"))
    entry, socks = entry_of(laptop)
    assert reply_to(socks, "home.nostr", 80) == SUCCEEDED
    assert home.succeed("devices", "rename", "laptop", "old laptop") == "renamed: old laptop\n"
    assert "revoked: old laptop npub1" in home.succeed("devices", "revoke", "old laptop")
    eventually(lambda: reply_to(socks, "home.nostr", 80) != SUCCEEDED)
    entry.wait_for_log(REVOKED)
    # The exit may have read the list only after both changes.
    process.wait_for(
        re.compile('device refused: its access was revoked device=("old laptop"|laptop)').search, stream="stderr"
    )
    assert REVOKED in laptop.run("ping", "home", "--count", "1").stdout
    assert "no device has the name" in home.fail("devices", "revoke", "laptop")


def test_a_list_that_cannot_be_changed(home, laptop, relay, web):
    if os.geteuid() != 0:
        pytest.skip("needs root, to make a file immutable")
    process = shared(home, relay, f"80={web.address}")
    invite = home.invite()
    state = home.folder / ".local/state/nws"
    if subprocess.run(["chattr", "+i", state / "devices"], capture_output=True).returncode:
        pytest.skip("the file system has no immutable files")
    try:
        assert "its log says why" in laptop.fail("join", text=invite)
    finally:
        subprocess.run(["chattr", "-i", state / "devices"], check=True)
    eventually(lambda: "device not enrolled" in process.stderr)
    laptop.join(invite)


def test_aliases(sandbox, home, laptop, relay, web):
    process = shared(home, relay, f"80={web.address}")
    name = process.value("name")
    assert "There are no aliases" in laptop.succeed("alias")
    shown = laptop.succeed("alias", "add", "work", f" http://{name.upper()}/ ")
    assert f"name: {name}" in shown and f"relay: {relay.url}" in shown
    assert "work.nostr" in laptop.succeed("alias")
    assert "already stands for" in laptop.fail("alias", "add", "work", name)
    laptop.succeed("alias", "add", "work", name, "--replace")
    for text in ["a.b", "npub1abc", "x" * 33, "nostr", "-a"]:
        assert "an alias has 1 to 32 letters" in laptop.fail("alias", "add", "--", text, name)
    assert "the key" in laptop.fail("alias", "add", "x", name.replace(".nostr", "a.nostr"))
    assert laptop.succeed("name", "decode", "work.nostr").startswith("pubkey: ")
    # The exit knows no device of this alias.
    assert "no alias has this name" in laptop.run("ping", "other.nostr", "--count", "1").stderr
    assert laptop.succeed("alias", "remove", "work") == "removed: work\n"
    assert "no alias has this name" in laptop.fail("alias", "show", "work")


def test_two_homes_have_two_aliases(sandbox, laptop, relay, web):
    for number, alias in enumerate(["home", "home2"]):
        other = Home(sandbox, f"home{number}")
        shared(other, relay, f"80={web.address}")
        assert f"enrolled: {alias}\n" in laptop.join(other.invite())
    third = Home(sandbox, "home3")
    shared(third, relay, f"80={web.address}")
    assert "stands for another exit" in laptop.fail("join", "--as", "home", text=third.invite())
    assert "enrolled: cabin" in laptop.join(third.invite(), "--as", "cabin")


def test_an_exit_of_an_operator_enrols_devices(sandbox, laptop, relay, web):
    exit_node = sandbox.exit([relay.url], web.address, options=["--allow", sandbox.write("allowed", "")])
    operator = Home(sandbox, "operator")
    invite = operator.invite(
        "guest", "--allow", sandbox.folder / "allowed", "--exit", exit_node.name, "--label", "cabin"
    )
    eventually(lambda: "configuration reloaded" in exit_node.process.stderr)
    output = laptop.join(invite)
    assert "enrolled: cabin" in output and "all ports" in output
    assert "guest" in operator.succeed("devices", "--allow", sandbox.folder / "allowed")
    assert "opened: 1 of 1" in laptop.succeed("ping", "cabin", "--count", "1")


def test_ssh_config(sandbox, laptop):
    printed = laptop.succeed("ssh-config")
    assert printed.startswith("Host *.nostr\n") and "ProxyCommand" in printed
    config = laptop.folder / ".ssh/config"
    config.parent.mkdir()
    config.write_text("Host *\n    User me\n")
    assert "added to" in laptop.succeed("ssh-config", "--install")
    assert "already in" in laptop.succeed("ssh-config", "--install")
    answer = subprocess.run(
        ["ssh", "-G", "-F", config, "home.nostr"], capture_output=True, text=True, check=True
    ).stdout
    assert "connect %h:%p" in answer or "proxycommand" in answer
    assert "user me" in answer
    assert "removed from" in laptop.succeed("ssh-config", "--remove")
    assert config.read_text() == "Host *\n    User me\n"


def test_invites_and_devices_of_one_name(home, laptop, relay, web):
    shared(home, relay, f"80={web.address}")
    laptop.join(home.invite("laptop"))
    home.invite(), home.invite()
    home.invite("laptop"), home.invite("laptop")
    # The device, and not an invite of the same name.
    assert home.succeed("devices", "rename", "laptop", "old") == "renamed: old\n"
    assert home.succeed("devices", "revoke", "laptop") == "revoked: invite laptop\n" * 2
    assert home.succeed("devices", "revoke", "-") == "revoked: invite -\n" * 2
    assert [line.split()[0] for line in home.succeed("devices").splitlines()] == ["device", "old"]
    assert "no device has the name" in home.fail("devices", "revoke", "-")


def test_the_alias_is_checked_before_the_invite_is_used(sandbox, home, laptop, relay, web):
    shared(home, relay, f"80={web.address}")
    laptop.succeed("alias", "add", "home", "npub10xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqpkge6d")
    invite = home.invite()
    assert "--as: the alias home stands for another exit" in laptop.fail("join", "--as", "home", text=invite)
    assert "enrolled: work" in laptop.join(f"Paste this: {invite}.", "--as", "work")
    # The device is known already, so the exit does not say which services it has.
    laptop.succeed("alias", "remove", "work")
    output = laptop.join(invite)
    assert "services: unknown" in output and "curl --proxy" in output


def test_a_device_that_the_exit_does_not_know_is_told_so(home, laptop, relay, web):
    process = shared(home, relay, f"80={web.address}")
    name = process.value("name")
    output = laptop.run("ping", name, "--count", "1")
    assert output.returncode == 1 and "requested: 1 of 1" in output.stdout and "opened" not in output.stdout
    assert "no answer from the exit" in output.stderr and "nws join" in output.stderr
    connect = laptop.start("connect", f"{name}:80")
    connect.wait_for_log("no answer from the exit: it is offline, or this device is not authorized")


def test_an_alias_needs_a_relay_that_can_be_read(home, laptop, relay, web):
    name = shared(home, relay, f"80={web.address}").value("name")
    assert "no relay that can be read" in laptop.fail("alias", "add", "home", name[:20] + name[21:])


def test_version_is_a_command(laptop):
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", laptop.succeed("version"))


def test_the_qr_code_contains_the_invite(sandbox, home, relay, web):
    shared(home, relay, f"80={web.address}")
    output = home.succeed("invite", "--qr")
    invite = re.search(r"^nwsinvite1\w+$", output, re.MULTILINE)[0]
    if "\x1b[" not in output:
        pytest.skip("libqrencode is not installed")
    rows = []
    for line in re.findall("\x1b\\[[0-9;]*m(.*)\x1b\\[0m", output):
        rows.append([block in "█▀" for block in line])
        rows.append([block in "█▄" for block in line])
    scale = 4
    size = f"{scale * len(rows[0])} {scale * len(rows)}"
    pixels = "\n".join(
        "\n".join([" ".join("0" if dark else "1" for dark in row for _ in range(scale))] * scale) for row in rows
    )
    picture = sandbox.write("code.pgm", f"P2 {size} 1\n{pixels}\n")
    command = [needed("zbarimg"), "--raw", "-q", picture]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert found == invite.upper()


def test_other_aliases_of_the_exit_stay_when_a_device_joins_again(home, laptop, relay, web):
    exit = shared(home, relay, f"80={web.address}")
    laptop.join(home.invite())
    name = exit.value("name")
    laptop.succeed("alias", "add", "office", name)
    assert "enrolled: home" in laptop.join(home.invite("--services", "80"))
    aliases = laptop.succeed("alias")
    assert "home.nostr" in aliases and "office.nostr" in aliases
    assert "opened" in laptop.succeed("ping", "office:80")


def test_a_refused_invite_is_refused_again_on_a_device_that_is_enrolled(sandbox, home, laptop, relay, web):
    shared(home, relay, f"80={web.address}")
    laptop.join(home.invite())
    used = home.invite()
    Home(sandbox, "tablet").join(used)
    for _ in range(2):
        assert "used by another device" in laptop.fail("join", text=used + "\n")
    # An invite in another list, which the exit does not read.
    name = re.search(r"name: (\S+)", laptop.succeed("alias", "show", "home"))[1]
    unknown = home.invite("--allow", home.folder / "other", "--exit", name)
    for _ in range(2):
        assert "no answer to this invite" in laptop.fail("join", text=unknown + "\n")
    assert "enrolled: home" in laptop.join(home.invite())


def test_an_identity_on_the_command_line_is_used(home, laptop, relay, web):
    exit = shared(home, relay, f"80={web.address}")
    laptop.join(home.invite("laptop"))
    stranger = laptop.folder / "stranger"
    laptop.succeed("key", "generate", "--key-file", stranger)
    assert "not authorized" in laptop.fail("ping", "home:80", "--count", "1", "--identity", stranger)
    assert "opened" in laptop.succeed("ping", "home:80", "--count", "1")
    npub = re.search(r"npub1\w+", laptop.succeed("key", "show", "--key-file", stranger))[0]
    home.succeed("key", "authorize", home.folder / ".local/state/nws/devices", f"nostr:{npub}")
    eventually(lambda: laptop.run("ping", "home:80", "--count", "1", "--identity", stranger).returncode == 0)
    name = exit.value("name")
    laptop.fail("alias", "add", "home", name, "--identity", stranger)
    laptop.succeed("alias", "add", "home", name, "--replace", "--identity", stranger)
    assert "opened" in laptop.succeed("ping", "home:80", "--count", "1")


def test_the_key_is_named_until_it_was_shown(sandbox, home, relay, web):
    dead = home.start("share", f"80={web.address}", "--relay", "ws://127.0.0.1:1")
    dead.wait_for_log("relay down")
    dead.kill()
    first = home.share(f"80={web.address}", "--relay", relay.url)
    first.wait_for(lambda line: "The key of this machine is in" in line)
    eventually(lambda: "keyWasShown" in (home.folder / ".local/state/nws/share.json").read_text())
    first.kill()
    second = home.share(f"80={web.address}", "--relay", relay.url)
    second.wait_for(lambda line: "nws invite" in line)
    second.kill()
    assert "The key of this machine" not in "\n".join(second.stdout)


def test_output_that_cannot_be_written_is_an_error(home):
    with open("/dev/full", "w") as full:
        result = subprocess.run([BINARY, "version"], env=home.environment, stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 74 and "cannot write to standard output" in result.stderr


def test_the_full_name_works_before_the_alias_was_used(home, laptop, relay, web):
    exit = shared(home, relay, f"80={web.address}")
    laptop.join(home.invite())
    _, (host, port) = entry_of(laptop)
    # The relay has a loopback address, which a stranger's name could not use.
    for name in (exit.value("name"), "home.nostr", exit.value("npub")):
        assert fetch(f"socks5h://{host}:{port}", f"http://{name}/bytes/10")


def test_a_lost_answer_is_remembered_for_each_invite(sandbox, home, laptop, relay, web):
    shared(home, relay, f"80={web.address}")
    mine, used = home.invite(), home.invite()
    Home(sandbox, "tablet").join(used)
    laptop.join(mine)
    # As if the device had ended before it heard the answer.
    (laptop.folder / ".local/state/nws/aliases").unlink()
    assert "used by another device" in laptop.fail("join", text=used + "\n")
    assert "enrolled" in laptop.join(mine)
    assert "opened" in laptop.succeed("ping", "home:80", "--count", "1")
