"""`make bench W=…`: measure the product, its peers and the limits of this machine in one run."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from bench.alerts import w3
from bench.backlog import backlog
from bench.burst import burst
from bench.capture import capture
from bench.checks import check
from bench.custody import w4
from bench.growth import w6
from bench.ingest import w1, w2
from bench.kill import kill
from bench.options import Options
from bench.rebuild import w5
from bench.report import Report
from bench.rig import Rig, rig
from bench.rules import rules
from bench.soak import soak
from bench.thermal import thermal

WORKS: Mapping[str, Callable[[Options, Rig], Report]] = {
    "w1": w1,
    "w2": w2,
    "w3": w3,
    "w4": w4,
    "w5": w5,
    "w6": w6,
    "capture": capture,
    "check": check,
    "kill": kill,
    "burst": burst,
    "backlog": backlog,
    "soak": soak,
    "thermal": thermal,
    "rules": rules,
}

# What is shipped, where that is the question.
SHIPPED = {"broker": "embedded", "sync": "always"}
DEFAULTS: Mapping[str, dict[str, Any]] = {"kill": SHIPPED, "burst": SHIPPED}


def main() -> None:
    """Measure one work, print its table, write JSON where asked."""
    parser = argparse.ArgumentParser(prog="make bench W=… ARGS=", description=__doc__)
    parser.add_argument("work", choices=WORKS)
    parser.add_argument("--broker", choices=("mosquitto", "embedded"))
    parser.add_argument("--sync", choices=("interval", "always"))
    parser.add_argument("--messages", type=int)
    parser.add_argument("--runs", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--tries", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--stored", type=int)
    parser.add_argument("--node-red", type=Path, metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE")
    asked = parser.parse_args()
    given = {
        field.name: value
        for field in fields(Options)
        if (value := getattr(asked, field.name, None)) is not None
    }
    options = Options(**{**DEFAULTS.get(asked.work, {}), **given})
    with rig(options.broker, options.sync) as made:
        report = WORKS[asked.work](options, made)
    print(report.text())
    if asked.json:
        report.write(asked.json)


if __name__ == "__main__":
    main()
