# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""The sources of settings and keys, and their precedence."""

import stat

from nostr_sdk import Keys

from backends import FolderBackend
from programs import Curl


def relays_of(sandbox, exit_node):
    return [line.removeprefix("relay: ") for line in sandbox.succeed("name", "decode", exit_node.name)[1:]]


def marked(sandbox, mark):
    """Starts a service that serves the text `mark` at /mark."""
    sandbox.write(f"{mark}/mark", mark, mode=0o644)
    return sandbox.closing(FolderBackend(sandbox.folder / mark))


def backend_of(sandbox, exit_node):
    """Returns the mark of the service that the exit connects to."""
    return Curl(sandbox, sandbox.entry(), exit_node.name, "/mark").body().decode()


# Relays


def test_relays_come_from_dotenv(sandbox):
    relay = sandbox.relay()
    sandbox.write(".env", f"# settings\nNOSTR_RELAYS={relay.url}\n")
    assert relays_of(sandbox, sandbox.exit([])) == [relay.url]


def test_other_programs_lines_in_dotenv_are_passed_over(sandbox):
    relay = sandbox.relay()
    key = 'TLS_KEY="-----BEGIN KEY-----\nMIIabc=\nHOST=127.0.0.1:1\n-----END KEY-----"\n'
    sandbox.write(".env", f"what is this\n{key}OPEN=\"never closed\nNOSTR_RELAYS=\"{relay.url}\" # ours\n")
    exit_node = sandbox.exit([])
    assert relays_of(sandbox, exit_node) == [relay.url]
    assert ".env, line 1: expected NAME=value" in exit_node.process.stderr
    assert ".env, line 6: the quote is not closed" in exit_node.process.stderr


def test_what_is_ours_in_dotenv_is_read_strictly(sandbox):
    sandbox.write(".env", 'NWS_ALLOW="npub1\n')
    process, status = sandbox.finished("exit", "--check-config", "--relay", "ws://127.0.0.1:9")
    assert status == 78 and ".env, line 1: the quote is not closed" in process.stderr
    # Help and version work in spite of the invalid file.
    assert sandbox.succeed("--version") and sandbox.succeed("exit", "--help")


def test_relays_in_the_environment_win_over_dotenv(sandbox):
    relay = sandbox.relay()
    sandbox.write(".env", "NOSTR_RELAYS=ws://127.0.0.1:9\n")
    assert relays_of(sandbox, sandbox.exit([], env={"NOSTR_RELAYS": relay.url})) == [relay.url]


def test_relay_option_wins_over_the_environment(sandbox):
    relay = sandbox.relay()
    sandbox.write(".env", "NOSTR_RELAYS=ws://127.0.0.1:9\n")
    assert relays_of(sandbox, sandbox.exit([relay.url], env={"NOSTR_RELAYS": "ws://127.0.0.1:19"})) == [relay.url]


def test_relays_in_the_environment_are_separated_by_semicolons(sandbox):
    first, second = sandbox.relay(), sandbox.relay()
    exit_node = sandbox.exit([], env={"NOSTR_RELAYS": f"{first.url};{second.url}"})
    assert relays_of(sandbox, exit_node) == [first.url, second.url]


def test_relays_of_the_entry_come_from_the_environment(sandbox, http):
    relay = sandbox.relay()
    exit_node = sandbox.exit([relay.url], http.address)
    entry = sandbox.entry(env={"NOSTR_RELAYS": relay.url})
    assert len(Curl(sandbox, entry, exit_node.npub, "/bytes/100").body()) == 100


# Backend


def test_backend_comes_from_dotenv(sandbox):
    sandbox.write(".env", f"BACKEND_HOST={marked(sandbox, 'dotenv').address}\n")
    exit_node = sandbox.exit([sandbox.relay().url], backend=None)
    assert backend_of(sandbox, exit_node) == "dotenv"


def test_backend_in_the_environment_wins_over_dotenv(sandbox):
    sandbox.write(".env", f"BACKEND_HOST={marked(sandbox, 'dotenv').address}\n")
    environment = {"BACKEND_HOST": marked(sandbox, "environment").address}
    exit_node = sandbox.exit([sandbox.relay().url], backend=None, env=environment)
    assert backend_of(sandbox, exit_node) == "environment"


def test_backend_option_wins_over_the_environment(sandbox):
    environment = {"BACKEND_HOST": marked(sandbox, "environment").address}
    exit_node = sandbox.exit([sandbox.relay().url], marked(sandbox, "option").address, env=environment)
    assert backend_of(sandbox, exit_node) == "option"


# Keys


def test_missing_key_file_is_created_for_its_owner_only(sandbox):
    exit_node = sandbox.exit([sandbox.relay().url], key_file="new/folder/exit.key")
    path = sandbox.folder / "new/folder/exit.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Keys.parse(path.read_text().strip()).public_key().to_hex() == exit_node.pubkey


def test_key_file_name_of_one_letter_is_taken(sandbox):
    sandbox.exit([sandbox.relay().url], key_file="k")
    assert (sandbox.folder / "k").exists()


def test_key_file_keeps_the_name_over_a_restart(sandbox):
    relay = sandbox.relay()
    first = sandbox.exit([relay.url])
    first.process.kill()
    assert sandbox.exit([relay.url]).name == first.name


def test_key_file_wins_over_the_environment(sandbox):
    in_file, in_environment = sandbox.keys(), sandbox.keys()
    sandbox.write("exit.key", in_file.secret_key().to_bech32())
    environment = {"NOSTR_PRIVATE_KEY": in_environment.secret_key().to_hex()}
    exit_node = sandbox.exit([sandbox.relay().url], env=environment)
    assert exit_node.pubkey == in_file.public_key().to_hex()


def test_key_in_the_environment_is_taken_as_hex(sandbox):
    keys = sandbox.keys()
    environment = {"NOSTR_PRIVATE_KEY": keys.secret_key().to_hex()}
    exit_node = sandbox.exit([sandbox.relay().url], key_file=None, env=environment)
    assert exit_node.pubkey == keys.public_key().to_hex()


def test_key_in_the_environment_is_taken_as_nsec(sandbox):
    keys = sandbox.keys()
    environment = {"NOSTR_PRIVATE_KEY": keys.secret_key().to_bech32()}
    exit_node = sandbox.exit([sandbox.relay().url], key_file=None, env=environment)
    assert exit_node.pubkey == keys.public_key().to_hex()


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


def test_state_folder_follows_xdg_state_home(sandbox):
    sandbox.exit([sandbox.relay().url], key_file=None, env={"XDG_STATE_HOME": str(sandbox.folder / "state")})
    assert (sandbox.folder / "state/nws/key").exists()
    assert not (sandbox.home / ".local").exists()


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
