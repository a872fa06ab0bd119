# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""The .env file of the working directory, and the state folder for keys."""

import stat

from nostr_sdk import Keys

from programs import Curl


# The .env file


def test_other_programs_lines_in_dotenv_are_passed_over(sandbox):
    relay = sandbox.relay()
    key = 'TLS_KEY="-----BEGIN KEY-----\nMIIabc=\nHOST=127.0.0.1:1\n-----END KEY-----"\n'
    sandbox.write(".env", f"what is this\n{key}OPEN=\"never closed\nNOSTR_RELAYS=\"{relay.url}\" # ours\n")
    exit_node = sandbox.exit([])
    assert sandbox.succeed("name", "decode", exit_node.name)[1:] == [f"relay: {relay.url}"]
    assert ".env, line 1: expected NAME=value" in exit_node.process.stderr
    assert ".env, line 6: the quote is not closed" in exit_node.process.stderr


def test_what_is_ours_in_dotenv_is_read_strictly(sandbox):
    sandbox.write(".env", 'NWS_ALLOW="npub1\n')
    process, status = sandbox.finished("exit", "--check-config", "--relay", "ws://127.0.0.1:9")
    assert status == 78 and ".env, line 1: the quote is not closed" in process.stderr
    # Help and version work in spite of the invalid file.
    assert sandbox.succeed("--version") and sandbox.succeed("exit", "--help")


# Keys


def test_key_file_name_of_one_letter_is_taken(sandbox):
    sandbox.exit([sandbox.relay().url], key_file="k")
    assert (sandbox.folder / "k").exists()


def test_key_in_the_environment_wins_over_the_state_file(sandbox):
    sandbox.succeed("key", "generate")
    keys = sandbox.keys()
    environment = {"NOSTR_PRIVATE_KEY": keys.secret_key().to_hex()}
    exit_node = sandbox.exit([sandbox.relay().url], key_file=None, env=environment)
    assert exit_node.pubkey == keys.public_key().to_hex()


def test_key_in_the_environment_is_not_written_down(sandbox):
    environment = {"NOSTR_PRIVATE_KEY": sandbox.keys().secret_key().to_hex()}
    sandbox.exit([sandbox.relay().url], key_file=None, env=environment)
    assert not (sandbox.home / ".local/state/nws/key").exists()


def test_without_any_key_the_state_file_is_created_and_used_again(sandbox):
    relay = sandbox.relay()
    first = sandbox.exit([relay.url], key_file=None)
    path = sandbox.home / ".local/state/nws/key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first.process.kill()
    assert sandbox.exit([relay.url], key_file=None).pubkey == first.pubkey


# Secrets


def test_nothing_secret_and_no_content_is_logged_at_the_finest_level(sandbox, http):
    relay = sandbox.relay("--log-level", "trace")
    exit_process = sandbox.nws(
        "exit", "--relay", relay.url, "--backend", http.address, "--key-file", "exit.key", "--log-level", "trace"
    )
    entry = sandbox.entry("--log-level", "trace")
    Curl(sandbox, entry, exit_process.value("name"), "/bytes/1000", "-H", "X-Mark: only-for-the-backend").body()
    secret = Keys.parse((sandbox.folder / "exit.key").read_text().strip()).secret_key()
    for process in (relay.process, exit_process, entry.process):
        for text in (secret.to_hex(), secret.to_bech32(), "nsec1", "only-for-the-backend"):
            assert text not in process.output.lower(), process.describe()
