"""Run the city beside an instance on real time until Ctrl-C: `python -m simulators.simulate`.

The same city as in the demonstration, one simulated minute a minute, sent every 15 seconds.
"""

from __future__ import annotations

import argparse
import sys
import time

from simulators import city as cities
from simulators.cold_store import MINUTE_MS
from simulators.goods import DAY_MS
from simulators.instance import NoInstance, connect, milliseconds, moment, rfc3339, run
from simulators.world import World

SEND_EVERY_S = 15.0
PLANNED_DAYS = 30  # beyond it clinics stand still; the readings go on


def main(argv: list[str] | None = None) -> int:
    """Register the city, then send what happens as it happens; ends by Ctrl-C."""
    parser = argparse.ArgumentParser(prog="vaxtrail simulate", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(argv)
    api, publisher = connect("simulate")
    try:
        clock = api.get("/clock")
        if clock["stepped"]:
            raise NoInstance(
                "步进时钟的实例请用 demo / an instance with a stepped clock runs the demo instead"
            )
        now_ms = milliseconds(moment(clock["now"])) // MINUTE_MS * MINUTE_MS
        world = World(
            cities.shizuishan(),
            start_ms=now_ms,
            end_ms=now_ms + PLANNED_DAYS * DAY_MS,
            seed=given.seed,
        )
        for group in cities.registrations(world.city, placed_at=moment(rfc3339(now_ms))):
            cities.register(api, group)
        print("城市已登记，开始模拟，Ctrl-C 结束 / the city runs; Ctrl-C ends it", flush=True)
        while True:
            now_ms = milliseconds(moment(api.get("/clock")["now"]))
            publisher.send(world.until(now_ms // MINUTE_MS * MINUTE_MS))
            time.sleep(SEND_EVERY_S)
    finally:
        publisher.close()
        api.close()


if __name__ == "__main__":
    sys.exit(run(main))
