"""`make bench W=…`: measure the product, its peers and the limits of this machine in one run."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path

from bench import ingest
from bench.options import Options
from bench.report import Report

WORKS: Mapping[str, Callable[[Options], Report]] = {
    "w1": ingest.w1,
    "w2": ingest.w2,
}


def main() -> None:
    """Measure one work, print its table, write JSON where asked."""
    parser = argparse.ArgumentParser(prog="make bench W=… ARGS=", description=__doc__)
    parser.add_argument("work", choices=WORKS)
    parser.add_argument("--broker", choices=("mosquitto", "embedded"))
    parser.add_argument("--sync", choices=("interval", "always"))
    parser.add_argument("--messages", type=int)
    parser.add_argument("--runs", type=int)
    parser.add_argument("--node-red", type=Path, metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE")
    asked = parser.parse_args()
    given = {
        field.name: value
        for field in fields(Options)
        if (value := getattr(asked, field.name, None)) is not None
    }
    report = WORKS[asked.work](Options(**given))
    print(report.text())
    if asked.json:
        report.write(asked.json)


if __name__ == "__main__":
    main()
