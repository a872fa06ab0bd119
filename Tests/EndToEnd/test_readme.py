# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""The README shows what the program says."""

import subprocess
import sys

from sandbox import BINARY, REPOSITORY


def test_readme_shows_the_help():
    check = subprocess.run(
        [sys.executable, REPOSITORY / "scripts/readme-help", "--check"],
        capture_output=True,
        text=True,
        env={"NWS_BINARY": str(BINARY), "PATH": "/usr/bin:/bin"},
        timeout=60,
    )
    assert check.returncode == 0, check.stderr
