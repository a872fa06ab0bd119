# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""The documents say what the program does."""

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
