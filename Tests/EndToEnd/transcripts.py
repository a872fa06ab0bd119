# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Recorded conversations between the reference's entry and exit."""

import base64
import json

from sandbox import REPOSITORY

FOLDER = REPOSITORY / "Tests/Vectors/transcripts"


class Transcript:
    """The messages of a recorded conversation, in the order in which they were sent."""

    def __init__(self, name):
        path = FOLDER / f"{name}.json"
        self.steps = []
        exit_key = None
        for record in json.loads(path.read_text()):
            if record["dir"] != "client->relay" or "raw" not in record:
                continue
            if record["raw"].startswith('["REQ"') and exit_key is None:
                exit_key = json.loads(record["raw"])[2]["#p"][0]
            if "decrypted" in record:
                author = json.loads(record["raw"])[1]["pubkey"]
                self.steps.append(("exit" if author == exit_key else "client", json.loads(record["decrypted"])))
        assert {who for who, _ in self.steps} == {"exit", "client"}

    def sent_by(self, who):
        """Returns all data that one side sent."""
        return b"".join(data_of(message) for author, message in self.steps if author == who)


def data_of(message):
    return base64.b64decode(message.get("data", ""), validate=True)
