# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Users with home directories of their own, who share services and join."""

import re
import subprocess

from sandbox import BINARY


class Home:
    """A user on a machine of its own: a home directory."""

    def __init__(self, sandbox, name):
        self.sandbox = sandbox
        self.folder = sandbox.folder / name
        self.folder.mkdir(exist_ok=True)
        self.environment = {**sandbox.environment, "HOME": str(self.folder)}

    def start(self, *arguments):
        return self.sandbox.nws(*arguments, env={"HOME": str(self.folder)})

    def run(self, *arguments, text=""):
        """Runs nws until it ends, with the text as standard input."""
        return subprocess.run(
            [BINARY, *map(str, arguments)],
            env=self.environment,
            cwd=self.folder,
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def succeed(self, *arguments, text=""):
        result = self.run(*arguments, text=text)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def fail(self, *arguments, text=""):
        """Returns the error of a command that must fail."""
        result = self.run(*arguments, text=text)
        assert result.returncode != 0, result.stdout
        return result.stderr

    def share(self, *arguments):
        process = self.start("share", *arguments)
        process.value("nprofile")
        return process

    def invite(self, *arguments):
        """Returns the line of a new invite."""
        return re.search(r"^nwsinvite1\w+$", self.succeed("invite", *arguments), re.MULTILINE)[0]

    def join(self, invite, *arguments):
        return self.succeed("join", *arguments, text=invite + "\n")
