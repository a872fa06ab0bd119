# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Runs the server and client tests of the Autobahn suite against websocket-echo; exits with 1 if a case fails."""

import argparse
import collections
import json
import pathlib
import shlex
import socket
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}
TIMEOUT = 3600
OPTIONAL = {"client": {"UNIMPLEMENTED"}, "server": set()}
"""In some cases the suite's server asks for parameters of compression that the client does not offer."""


def specification(name, folder, port, cases):
    """Writes the suite's settings to a file and returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    text = (HERE / f"{name}.json").read_text().replace("OUT", str(folder)).replace("PORT", str(port))
    settings = json.loads(text)
    if cases:
        settings["cases"] = cases
    path = folder / f"{name}.json"
    path.write_text(json.dumps(settings))
    return path


def check_server(echo, wstest, folder, cases):
    server = subprocess.Popen([echo, "server"], stdout=subprocess.PIPE, text=True)
    try:
        port = int(server.stdout.readline().removeprefix("port: "))
        settings = specification("fuzzingclient", folder, port, cases)
        with (folder / "log").open("w") as log:
            subprocess.run(
                [*wstest, "-m", "fuzzingclient", "-s", settings],
                check=True, stdout=log, stderr=log, timeout=TIMEOUT,
            )  # fmt: skip
    finally:
        server.kill()
        server.wait()


def check_client(echo, wstest, folder, cases):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    settings = specification("fuzzingserver", folder, port, cases)
    with (folder / "log").open("w") as log:
        server = subprocess.Popen([*wstest, "-m", "fuzzingserver", "--webport", "0", "-s", settings], stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    if server.poll() is not None or time.monotonic() > deadline:
                        raise SystemExit(f"wstest does not listen on port {port}; see {folder}/log") from None
                    time.sleep(0.1)
            subprocess.run([echo, "client", f"127.0.0.1:{port}"], check=True, timeout=TIMEOUT)
        finally:
            server.kill()
            server.wait()


def judge(name, folder):
    """Prints the results; returns the number of failed cases, or 1 if there are no results."""
    results = json.loads((folder / "index.json").read_text())["nws"]
    counts = collections.Counter(result["behavior"] for result in results.values())
    print(f"{name}: {len(results)} cases: " + ", ".join(f"{count} {word}" for word, count in sorted(counts.items())))
    bad = {
        case: result
        for case, result in results.items()
        if result["behavior"] not in GOOD | OPTIONAL[name] or result["behaviorClose"] not in GOOD
    }
    for case, result in bad.items():
        print(f"  {case}: {result['behavior']}, close: {result['behaviorClose']}; {folder / result['reportfile']}")
    return len(bad) + (0 if results else 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--echo", required=True)
    parser.add_argument("--wstest", required=True, type=shlex.split)
    parser.add_argument("--folder", required=True, type=pathlib.Path)
    parser.add_argument("--cases", type=shlex.split)
    options = parser.parse_args()
    bad = 0
    for name, check in (("server", check_server), ("client", check_client)):
        folder = options.folder / name
        (folder / "index.json").unlink(missing_ok=True)
        check(options.echo, options.wstest, folder, options.cases)
        bad += judge(name, folder)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
