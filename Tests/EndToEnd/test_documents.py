# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""The documents say what the program does."""

import re
import subprocess
import sys

from sandbox import BINARY, REPOSITORY


def test_the_command_reference_is_the_help():
    check = subprocess.run(
        [sys.executable, REPOSITORY / "scripts/command-reference", "--check"],
        capture_output=True,
        text=True,
        env={"NWS_BINARY": str(BINARY), "PATH": "/usr/bin:/bin"},
        timeout=60,
    )
    assert check.returncode == 0, check.stderr


PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("packaging/*.md")])


def lines_of_shell(page):
    """Yields the lines of the blocks of shell commands, without comments."""
    for block in re.findall(r"^ *```sh\n(.*?)^ *```", page.read_text(), flags=re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            yield re.sub(r"(^|\s)# .*", "", line.strip())


def help_of(words):
    """Returns the command that the words begin with, its help, and the words after it."""
    path = []
    text = subprocess.run([BINARY, "--help"], capture_output=True, text=True, check=True).stdout
    while words and re.search(rf"^  {re.escape(words[0])}(\s|$)", text.partition("SUBCOMMANDS:")[2], flags=re.M):
        path.append(words.pop(0))
        text = subprocess.run([BINARY, *path, "--help"], capture_output=True, text=True, check=True).stdout
    if default := re.search(r"^  ([a-z-]+) \(default\)", text, flags=re.M):
        text += subprocess.run([BINARY, *path, default[1], "--help"], capture_output=True, text=True, check=True).stdout
    return path, text, words


def test_commands_in_the_documents_exist():
    found = 0
    for page in PAGES:
        for line in lines_of_shell(page):
            for command in re.findall(r"(?:^|[\s('])nws ([a-z][^|>)&;]*)", line):
                path, text, rest = help_of(command.replace("'", " ").split())
                assert path, f"{page}: {line}"
                found += 1
                for option in re.findall(r"(?<!\S)--([a-z-]+)", " ".join(rest)):
                    known = re.search(rf"--(\(?no-\)?)?{option}(?![a-z-])|--\[no-\]{option}(?![a-z-])", text)
                    assert known, f"{page}: {line}: no option --{option}"
    assert found > 50


def test_commands_of_make_exist():
    targets = set(re.findall(r"^([a-z0-9-]+):", (REPOSITORY / "Makefile").read_text(), flags=re.M))
    for page in PAGES:
        for line in lines_of_shell(page):
            for target in re.findall(r"(?:^|&& |sudo )make ([a-z0-9-]+)", line):
                assert target in targets, f"{page}: {line}"


def test_links_lead_somewhere():
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.relative_to(REPOSITORY)}: {target}"


def test_the_readme_is_short():
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 150


def test_every_page_is_in_the_site():
    navigation = (REPOSITORY / "mkdocs.yml").read_text()
    for page in REPOSITORY.glob("docs/**/*.md"):
        assert str(page.relative_to(REPOSITORY / "docs")) in navigation, page
