# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Commands that end by themselves: their exit status, and commands for keys and names."""

import os
import re
import socket
import subprocess

import pytest
from nostr_sdk import Keys, Nip19Profile, PublicKey

from sandbox import BINARY

USAGE, UNAVAILABLE, FAILURE = 64, 69, 1
RELAY = "ws://127.0.0.1:7777"
NIP_EXAMPLE = "etpjkbpf60n30bhg5oo3kdpn6srg.7rqkr7rul8t6vbtekq0b3k274i696g47eo1765t9add20llitt9g.nostr"


def refused(sandbox, status, *arguments, **options):
    """Runs nws, which must fail with the status, an error on stderr and an empty stdout; returns the error."""
    process, actual = sandbox.finished(*arguments, **options)
    assert actual == status, process.describe()
    assert process.stdout == [], process.describe()
    assert process.stderr.strip(), process.describe()
    return process.stderr


def test_version_is_one_number(sandbox):
    lines = sandbox.succeed("--version")
    assert len(lines) == 1 and re.fullmatch(r"\d+\.\d+\.\d+\S*", lines[0])


def test_help_is_printed_to_stdout(sandbox):
    assert any("USAGE" in line for line in sandbox.succeed("name", "decode", "--help"))


# Exit status; that of invalid configurations is in test_settings.py and test_configuration.py


def test_unknown_option_is_a_usage_error(sandbox):
    assert "--no-such-option" in refused(sandbox, USAGE, "exit", "--no-such-option")


@pytest.mark.parametrize("role", ["relay", "entry"])
def test_port_in_use_is_unavailable(sandbox, role):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        assert address in refused(sandbox, UNAVAILABLE, role, "--listen", address)


def test_what_is_not_a_name_is_a_failure(sandbox):
    assert "not a .nostr name" in refused(sandbox, FAILURE, "name", "decode", "example.com")


# Keys


def test_key_generate_prints_the_public_key(sandbox):
    lines = sandbox.succeed("key", "generate", "--key-file", "fresh.key")
    public = Keys.parse((sandbox.folder / "fresh.key").read_text().strip()).public_key()
    assert f"pubkey: {public.to_hex()}" in lines
    assert f"npub: {public.to_bech32()}" in lines


def test_key_generate_takes_a_file_name_of_one_letter(sandbox):
    sandbox.succeed("key", "generate", "--key-file", "k")
    assert (sandbox.folder / "k").exists()


def test_key_generate_uses_the_state_folder_by_default(sandbox):
    sandbox.succeed("key", "generate")
    assert [path.name for path in (sandbox.home / ".local/state/nws").iterdir()] == ["key"]


def test_key_show_keeps_the_secret_to_itself(sandbox):
    keys = sandbox.keys()
    sandbox.write("some.key", keys.secret_key().to_bech32())
    lines = sandbox.succeed("key", "show", "--key-file", "some.key")
    assert lines == [f"pubkey: {keys.public_key().to_hex()}", f"npub: {keys.public_key().to_bech32()}"]


def test_key_show_shows_the_secret_when_asked(sandbox):
    keys = sandbox.keys()
    sandbox.write("some.key", keys.secret_key().to_bech32())
    text = "\n".join(sandbox.succeed("key", "show", "--key-file", "some.key", "--secret", shows_secret=True))
    assert keys.secret_key().to_hex() in text
    assert keys.secret_key().to_bech32() in text


# Names


def test_name_decode_takes_the_example_of_the_nip(sandbox):
    assert sandbox.succeed("name", "decode", NIP_EXAMPLE) == [
        "pubkey: 3ef54d9f7eaa3a6fafaea680b1d047248c93408776027317a9535a2056b2ef53",
        "relay: ws://0.0.0.0:7777",
    ]


def test_name_encode_makes_the_example_of_the_nip(sandbox):
    key = "3ef54d9f7eaa3a6fafaea680b1d047248c93408776027317a9535a2056b2ef53"
    assert sandbox.succeed("name", "encode", "--relay", "ws://0.0.0.0:7777", key) == [NIP_EXAMPLE]


def test_name_encode_makes_an_nprofile_that_others_read(sandbox):
    public = Keys.generate().public_key()
    (text,) = sandbox.succeed("name", "encode", "--nprofile", "--relay", RELAY, public.to_hex())
    profile = Nip19Profile.from_bech32(text)
    assert profile.public_key() == public
    assert [str(url).rstrip("/") for url in profile.relays()] == [RELAY]


def test_what_the_command_line_calls_a_key_is_one_for_others(sandbox):
    lines = sandbox.succeed("key", "generate", "--key-file", "fresh.key")
    values = dict(line.split(": ", 1) for line in lines)
    assert PublicKey.parse(values["npub"]).to_hex() == values["pubkey"]


def test_unknown_commands_and_options_get_suggestions(sandbox):
    for arguments, suggestion in [
        (["exti", "--relay", "ws://a.example"], "unknown command exti; did you mean exit?"),
        (["name", "decod", "x"], "unknown command decod; did you mean decode?"),
        (["bananas"], "unknown command bananas (nws --help"),
    ]:
        process, status = sandbox.finished(*arguments)
        assert status == 64 and suggestion in process.stderr
    sandbox.write("exit.yaml", "realy: ws://a.example\n")
    process, status = sandbox.finished("exit", "--config", "exit.yaml")
    assert status == 78 and "unknown option realy for nws exit; did you mean relay?" in process.stderr


def test_a_relay_that_is_read_as_another_url_is_named(sandbox):
    for text in ["https://127.0.0.1:9", "relay.example"]:
        process, _ = sandbox.finished("exit", "--relay", text, "--backend", "127.0.0.1:9", "--check-config")
        assert f"--relay: {text} is read as wss://" in process.stderr
    process, _ = sandbox.finished("exit", "--relay", "ws://127.0.0.1:9", "--backend", "127.0.0.1:9", "--check-config")
    assert process.stderr == ""


def test_the_name_of_a_key_is_shown_with_its_relays(sandbox):
    sandbox.succeed("key", "generate")
    assert not any(line.startswith("name:") for line in sandbox.succeed("key", "show"))
    lines = sandbox.succeed("key", "show", "--relay", "wss://relay.example")
    assert [line.split(":")[0] for line in lines] == ["pubkey", "npub", "name", "nprofile"]
    # A name that would not work is not printed.
    lines = sandbox.succeed("key", "show", "--relay", "wss://relay.example/" + "x" * 60)
    assert [line.split(":")[0] for line in lines] == ["pubkey", "npub", "nprofile"]


def test_completion_scripts(sandbox):
    for shell in ["bash", "zsh", "fish"]:
        assert "nws" in "\n".join(sandbox.succeed("completion", shell))


def test_arguments_are_known_without_proc(sandbox):
    if os.geteuid() != 0:
        pytest.skip("needs root, to hide /proc")
    command = ["unshare", "-m", "sh", "-c", 'umount -l /proc && exec "$0" version', BINARY]
    result = subprocess.run(command, capture_output=True, text=True)
    if "unshare" in result.stderr or "umount" in result.stderr:
        pytest.skip("cannot hide /proc here")
    assert result.returncode == 0 and result.stdout.count(".") == 2


def test_missing_certificate_authorities_are_named(sandbox):
    if os.geteuid() != 0:
        pytest.skip("needs root, to hide the certificates")
    script = 'for f in /etc/ssl /etc/pki /usr/share/ca-certificates; do [ ! -d $f ] || mount -t tmpfs none $f; done; exec "$0" "$@"'
    command = ["unshare", "-m", "sh", "-c", script, BINARY, "doctor", "--relay", "wss://127.0.0.1:9"]
    result = subprocess.run(command, capture_output=True, text=True, env=sandbox.environment)
    if "unshare" in result.stderr or "mount:" in result.stderr:
        pytest.skip("cannot hide the certificates here")
    assert "no CA certificates on this system: install the package ca-certificates" in result.stdout
