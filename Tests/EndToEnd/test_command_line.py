# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Commands that end by themselves: their exit status, and commands for keys and names."""

import re
import socket
import stat

import pytest
from nostr_sdk import Keys, Nip19Profile, PublicKey

USAGE, UNAVAILABLE, CONFIGURATION, FAILURE = 64, 69, 78, 1
RELAY = "ws://127.0.0.1:7777"
NIP_EXAMPLE = "etpjkbpf60n30bhg5oo3kdpn6srg.7rqkr7rul8t6vbtekq0b3k274i696g47eo1765t9add20llitt9g.nostr"
EXIT = ("exit", "--relay", RELAY, "--backend", "127.0.0.1:9", "--key-file", "exit.key")


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


@pytest.mark.parametrize(
    "command", [(), ("relay",), ("exit",), ("entry",), ("key", "show"), ("name", "decode")], ids=" ".join
)
def test_help_is_printed_to_stdout(sandbox, command):
    assert any("USAGE" in line for line in sandbox.succeed(*command, "--help"))


# Usage


@pytest.mark.parametrize(
    "command", [("relay",), ("exit",), ("entry",), ("key", "show"), ("name", "decode", "x")], ids=" ".join
)
def test_unknown_option_is_a_usage_error(sandbox, command):
    assert "--no-such-option" in refused(sandbox, USAGE, *command, "--no-such-option")


def test_unknown_subcommand_is_a_usage_error(sandbox):
    refused(sandbox, USAGE, "no-such-command")


def test_missing_argument_is_a_usage_error(sandbox):
    refused(sandbox, USAGE, "name", "encode")


# Configuration


@pytest.mark.parametrize("role", ["exit", "entry"])
@pytest.mark.parametrize("value", ["http//nonsense", "ftp://127.0.0.1", "ws://"])
def test_bad_relays_in_the_environment_are_a_configuration_error(sandbox, role, value):
    options = ["--backend", "127.0.0.1:9"] if role == "exit" else ["--listen", "127.0.0.1:0"]
    assert "NOSTR_RELAYS" in refused(sandbox, CONFIGURATION, role, *options, env={"NOSTR_RELAYS": value})


def test_missing_backend_is_a_configuration_error(sandbox):
    assert "--backend" in refused(sandbox, CONFIGURATION, "exit", "--relay", RELAY)


def test_missing_relay_of_an_exit_is_a_configuration_error(sandbox):
    assert "--relay" in refused(sandbox, CONFIGURATION, "exit", "--backend", "127.0.0.1:9")


def test_backend_without_port_is_a_configuration_error(sandbox):
    refused(sandbox, CONFIGURATION, "exit", "--relay", RELAY, "--backend", "127.0.0.1")


@pytest.mark.parametrize("value", ["127.0.0.1", "127.0.0.1:0", "nowhere"])
def test_public_address_is_host_and_port(sandbox, value):
    assert "PUBLIC_ADDRESS" in refused(
        sandbox, CONFIGURATION, "entry", "--listen", "127.0.0.1:0", env={"PUBLIC_ADDRESS": value}
    )


def test_public_is_true_or_false(sandbox):
    assert "PUBLIC" in refused(sandbox, CONFIGURATION, *EXIT, env={"PUBLIC": "perhaps"})


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_key_file_that_others_can_read_is_a_configuration_error(sandbox, mode):
    sandbox.write("exit.key", sandbox.keys().secret_key().to_bech32() + "\n", mode)
    assert "exit.key" in refused(sandbox, CONFIGURATION, *EXIT)


@pytest.mark.parametrize("text", ["garbage", "", "0" * 64, "nsec1" + "q" * 58, "f" * 63])
def test_key_file_with_garbage_is_a_configuration_error(sandbox, text):
    path = sandbox.write("exit.key", text)
    explanation = refused(sandbox, CONFIGURATION, *EXIT)
    assert "exit.key" in explanation
    assert not text or text not in explanation
    assert path.read_text() == text


def test_garbage_as_private_key_in_the_environment_is_a_configuration_error(sandbox):
    arguments = ("exit", "--relay", RELAY, "--backend", "127.0.0.1:9")
    explanation = refused(sandbox, CONFIGURATION, *arguments, env={"NOSTR_PRIVATE_KEY": "not-a-key-at-all"})
    assert "NOSTR_PRIVATE_KEY" in explanation and "not-a-key-at-all" not in explanation


# Ports


@pytest.mark.parametrize("role", ["relay", "entry"])
def test_port_in_use_is_unavailable(sandbox, role):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        assert address in refused(sandbox, UNAVAILABLE, role, "--listen", address)


# Keys


def test_key_generate_makes_a_file_that_only_its_owner_can_read(sandbox):
    sandbox.succeed("key", "generate", "--key-file", "fresh.key")
    path = sandbox.folder / "fresh.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Keys.parse(path.read_text().strip())


def test_key_generate_prints_the_public_key(sandbox):
    lines = sandbox.succeed("key", "generate", "--key-file", "fresh.key")
    public = Keys.parse((sandbox.folder / "fresh.key").read_text().strip()).public_key()
    assert f"pubkey: {public.to_hex()}" in lines
    assert f"npub: {public.to_bech32()}" in lines


def test_key_generate_takes_a_file_name_of_one_letter(sandbox):
    sandbox.succeed("key", "generate", "--key-file", "k")
    assert (sandbox.folder / "k").exists()


def test_key_generate_never_overwrites(sandbox):
    path = sandbox.write("there.key", sandbox.keys().secret_key().to_bech32())
    before = path.read_text()
    process, status = sandbox.finished("key", "generate", "--key-file", path)
    assert status != 0 and process.stdout == []
    assert path.read_text() == before


def test_key_generate_uses_the_state_folder_by_default(sandbox):
    sandbox.succeed("key", "generate")
    assert [path.name for path in (sandbox.home / ".local/state/nws").iterdir()] == ["key"]


@pytest.mark.parametrize("form", ["hex", "nsec"])
def test_key_show_reads_both_forms_of_a_key(sandbox, form):
    keys = sandbox.keys()
    secret = keys.secret_key().to_hex() if form == "hex" else keys.secret_key().to_bech32()
    sandbox.write("some.key", secret + "\n")
    assert f"pubkey: {keys.public_key().to_hex()}" in sandbox.succeed("key", "show", "--key-file", "some.key")


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


def test_key_show_of_a_missing_file_fails_and_makes_none(sandbox):
    _, status = sandbox.finished("key", "show", "--key-file", "none.key")
    assert status != 0
    assert not (sandbox.folder / "none.key").exists()


# Names


def test_name_decode_takes_the_example_of_the_nip(sandbox):
    assert sandbox.succeed("name", "decode", NIP_EXAMPLE) == [
        "pubkey: 3ef54d9f7eaa3a6fafaea680b1d047248c93408776027317a9535a2056b2ef53",
        "relay: ws://0.0.0.0:7777",
    ]


def test_name_encode_makes_the_example_of_the_nip(sandbox):
    key = "3ef54d9f7eaa3a6fafaea680b1d047248c93408776027317a9535a2056b2ef53"
    assert sandbox.succeed("name", "encode", "--relay", "ws://0.0.0.0:7777", key) == [NIP_EXAMPLE]


def test_name_encode_and_decode_keep_several_relays_in_order(sandbox):
    relays = ["ws://127.0.0.1:7777", "wss://relay.example", "ws://127.0.0.1:8888"]
    public = Keys.generate().public_key()
    options = [argument for relay in relays for argument in ("--relay", relay)]
    (name,) = sandbox.succeed("name", "encode", *options, public.to_bech32())
    assert sandbox.succeed("name", "decode", name) == [f"pubkey: {public.to_hex()}"] + [
        f"relay: {url}" for url in relays
    ]


def test_name_encode_makes_an_nprofile_that_others_read(sandbox):
    public = Keys.generate().public_key()
    (text,) = sandbox.succeed("name", "encode", "--nprofile", "--relay", RELAY, public.to_hex())
    profile = Nip19Profile.from_bech32(text)
    assert profile.public_key() == public
    assert [str(url).rstrip("/") for url in profile.relays()] == [RELAY]


def test_name_decode_ignores_case(sandbox):
    assert sandbox.succeed("name", "decode", NIP_EXAMPLE.upper()) == sandbox.succeed("name", "decode", NIP_EXAMPLE)


def test_name_decode_takes_an_npub(sandbox):
    public = Keys.generate().public_key()
    assert sandbox.succeed("name", "decode", public.to_bech32()) == [f"pubkey: {public.to_hex()}"]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "nonsense",
        "example.com",
        "nonsense.nostr",
        ".nostr",
        NIP_EXAMPLE + ":80",
        NIP_EXAMPLE[:-6] + "w.nostr",
        "a" * 300 + ".nostr",
    ],
)
def test_name_decode_refuses_what_is_not_a_name(sandbox, name):
    refused(sandbox, FAILURE, "name", "decode", name)


@pytest.mark.parametrize("key", ["nonsense", "f" * 64, "0" * 63])
def test_name_encode_refuses_what_is_not_a_key(sandbox, key):
    refused(sandbox, FAILURE, "name", "encode", key)


def test_name_encode_refuses_a_secret_key_without_repeating_it(sandbox):
    refused(sandbox, FAILURE, "name", "encode", sandbox.keys().secret_key().to_bech32())


def test_what_the_command_line_calls_a_key_is_one_for_others(sandbox):
    lines = sandbox.succeed("key", "generate", "--key-file", "fresh.key")
    values = dict(line.split(": ", 1) for line in lines)
    assert PublicKey.parse(values["npub"]).to_hex() == values["pubkey"]
