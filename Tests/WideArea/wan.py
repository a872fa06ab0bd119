# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Measures nws over an emulated internet. Prints a table, and writes all figures to a JSON file.

Every transfer is checked byte for byte. Figures are compared within one run, and the median of several pairs counts.
"""

import argparse
import json
import operator
import statistics
import sys
import time

import direct
from scenarios import SCENARIOS, TARGETS, TLS_TARGETS

SCENARIOS = {**SCENARIOS, **{f"direct-{name}": run for name, run in direct.SCENARIOS.items()}}
TARGETS = {**TARGETS, **{f"direct-{name}": row for name, row in direct.TARGETS.items()}}

COMPARE = {">=": operator.ge, "<=": operator.le}


def measured(name, options):
    """The figures of all pairs, by name. A pair that failed is reported and left out."""
    figures, failures = {}, 0
    for pair in range(options.pairs):
        try:
            result = SCENARIOS[name](options, pair)
        except RuntimeError as error:
            failures += 1
            print(f"  pair {pair + 1} failed: {error}", flush=True)
            continue
        print("  " + ", ".join(f"{key} {value:.2f}" for key, value in result.items()), flush=True)
        for key, value in result.items():
            figures.setdefault(key, []).append(value)
    return figures, failures


def main():
    parser = argparse.ArgumentParser(prog="scripts/wan", description=__doc__)
    parser.add_argument("scenarios", nargs="*", choices=[*SCENARIOS, []], help="what to measure (default: all)")
    parser.add_argument("--pairs", type=int, default=5, help="number of pairs of runs (default: 5)")
    parser.add_argument("--tls", action="store_true", help="use wss:// relays")
    parser.add_argument("--congestion", choices=["cubic", "bbr", "reno"], help="TCP congestion control of all hosts")
    parser.add_argument("--output", default="wan.json", help="the file for the figures (default: wan.json)")
    parser.add_argument("--slack", type=float, default=0, help="share by which a target may be missed (default: 0)")
    parser.add_argument("--idle", type=float, default=600, help="seconds of direct-idle's pause (default: 600)")
    options = parser.parse_args()
    report, missed = {}, []
    for name in options.scenarios or SCENARIOS:
        print(f"{name}:", flush=True)
        figures, failures = measured(name, options)
        rows = {}
        for key, values in figures.items():
            rows[key] = {"median": statistics.median(values), "values": values}
        for key, (sign, target) in (TLS_TARGETS if options.tls else TARGETS).get(name, {}).items():
            row = rows.setdefault(key, {"median": None, "values": []})
            limit = target * (1 - options.slack if sign == ">=" else 1 + options.slack)
            row["target"] = f"{sign} {target}"
            row["is_met"] = row["median"] is not None and not failures and COMPARE[sign](row["median"], limit)
            if not row["is_met"]:
                missed.append(f"{name}: {key}")
        report[name] = {"figures": rows, "failed_pairs": failures}
    print(f"\n{'scenario':28} {'figure':28} {'median':>9}  target")
    for name, result in report.items():
        for key, row in result["figures"].items():
            middle = "-" if row["median"] is None else f"{row['median']:.2f}"
            verdict = "" if "target" not in row else f"{row['target']} {'met' if row['is_met'] else 'MISSED'}"
            print(f"{name:28} {key:28} {middle:>9}  {verdict}")
    with open(options.output, "w") as file:
        settings = {"tls": options.tls, "congestion": options.congestion, "pairs": options.pairs}
        json.dump({"at": int(time.time()), "settings": settings, "scenarios": report}, file, indent=1)
    if missed:
        print("\nmissed: " + "; ".join(missed))
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
