"""Ingest as a process of its own, for tests that kill it: DSN, broker URL, client id."""

from __future__ import annotations

import signal
import sys
from threading import Event as StopEvent

from ingest.main import run
from tests.conftest import ManualClock


def main(dsn: str, mqtt_url: str, client_id: str) -> None:
    """Run until SIGTERM."""
    stop = StopEvent()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    run(
        app_dsn=dsn,
        mqtt_url=mqtt_url,
        regions=(),
        clock=ManualClock(),
        stop=stop,
        client_id=client_id,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
