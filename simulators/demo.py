"""Three days of Shizuishan in about a minute, then one hour at 60×: `python -m simulators.demo`.

The driver owns the instance's stepped clock: it moves it, sends what happened in the step, waits
until every message is answered, and moves on. In the last hour a refrigerator's door stays open,
nobody answers until the second step of the alert, then somebody does. At the end it checks that
published − repeated − refused = stored, for readings and for scans; exit code 1 when not.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from simulators import city as cities
from simulators import people, summary
from simulators.city import City, Unit
from simulators.cold_store import MINUTE_MS, Trouble
from simulators.goods import DAY_MS, at_local, local_day, unit_for
from simulators.http import Api, Json
from simulators.instance import NoInstance, Parser, connect, milliseconds, moment, rfc3339, run
from simulators.people import Mailbox, System
from simulators.screen import Screen
from simulators.summary import Summary, clock_time, peak, severity
from simulators.wire import Publisher
from simulators.world import World

SMTP_PORT = "VAXTRAIL_SIM_SMTP_PORT"
STEP_MIN = 15
BEGINS_LOCAL = 9  # o'clock
# A fresh stepped clock stands far back; the goods are of this summer.
FIRST_DAY = "2026-09-07T00:00:00+08:00"
LIVE_MIN = 60
LIVE_SPEED = 60.0  # simulated seconds a second
SEVERITY_ACTED_ON = "critical"
DOOR_OPEN_MIN = 28
ANSWERED_AFTER_MIN = 12  # after the critical alert; its first escalation comes at 10
SITE_IN_TROUBLE = "dwk-c1"
COMMENT = "门已关好，疫苗暂存备用冰箱并封存待判 / door closed, vaccines moved and held"
REASON = "超温待判 / excursion under review"
SETTLE_S = 15.0  # for the last notices to be delivered


@dataclass(slots=True)
class Demo:
    """One run against one instance."""

    api: Api
    duty: Api  # as the officer who answers the alert
    publisher: Publisher
    screen: Screen
    world: World
    live_ms: int = 0  # when the last hour began
    on_site: bool = False
    held: bool = False
    seen: set[str] = field(default_factory=set)

    def register(self) -> None:
        """Register the whole city, group by group."""
        placed_at = moment(rfc3339(self.world.now_ms))
        groups = cities.registrations(self.world.city, placed_at=placed_at)
        with self.screen.task("登记城市 / registering the city", len(groups)) as task:
            for group in groups:
                cities.register(self.api, group)
                task.advance(group[0][0])
        self.api.follow()

    def days(self, end_ms: int) -> None:
        """Run from the world's time to `end_ms` as fast as the instance answers."""
        steps = (end_ms - self.world.now_ms) // (STEP_MIN * MINUTE_MS)
        with self.screen.task("模拟运行 / simulated days", steps) as task:
            for _ in range(steps):
                self.step(self.world.now_ms + STEP_MIN * MINUTE_MS)
                task.advance(clock_time(self.world.now_ms))

    def step(self, to_ms: int) -> None:
        """Move the clock, then send what happened until then, and wait for all answers."""
        messages = self.world.until(to_ms)
        self.api.post("/clock", {"now": rfc3339(to_ms)})
        self.publisher.send(messages)

    def live_hour(self, speed: float) -> None:
        """Run one hour in minutes of 60/speed seconds; a refrigerator's door stays open in it."""
        unit = fridge_in_trouble(self.world)
        self.live_ms = from_ms = self.world.now_ms
        closed_ms = from_ms + DOOR_OPEN_MIN * MINUTE_MS
        self.world.trouble(unit.unit_id, Trouble(from_ms, closed_ms, door=True))
        self.screen.say(
            f"{clock_time(from_ms)} {unit.site.name} {unit.name}门未关好 / a door stays open"
        )
        began = time.monotonic()
        with self.screen.task("实时一小时 / the last hour, live", LIVE_MIN) as task:
            for minute in range(1, LIVE_MIN + 1):
                self.step(self.world.now_ms + MINUTE_MS)
                self._people(unit)
                task.advance(clock_time(self.world.now_ms))
                time.sleep(max(0.0, began + minute * 60 / speed - time.monotonic()))

    def _people(self, unit: Unit) -> None:
        """Read the unit's alerts as people would; act on the one that was escalated."""
        for alert in self.api.pages("/alerts", region=unit.site.region):
            begun = milliseconds(moment(alert["started_at"])) >= self.live_ms
            if alert["unit_id"] != unit.unit_id or not begun:
                continue
            self._announce(alert, "fired", "告警 / alert")
            if alert["level"] >= 1:
                self._announce(alert, "escalated", "无人确认，已升级 / nobody answered: escalated")
            if self._somebody_answers(alert):
                self._acknowledge(alert, unit)
            if alert["resolved_at"] is not None:
                self._announce(alert, "resolved", "已恢复 / recovered")

    def _somebody_answers(self, alert: Json) -> bool:
        """Tell whether somebody acknowledges this alert now.

        Nobody does before the first critical alert was escalated; then they stand at the unit.
        """
        if alert["acknowledged_at"] is not None or alert["resolved_at"] is not None:
            return False
        waited_ms = self.world.now_ms - milliseconds(moment(alert["fired_at"]))
        critical = alert["severity"] == SEVERITY_ACTED_ON and alert["level"] >= 1
        self.on_site = self.on_site or (critical and waited_ms >= ANSWERED_AFTER_MIN * MINUTE_MS)
        return self.on_site

    def _announce(self, alert: Json, what: str, text: str) -> None:
        if (key := f"{alert['alert_id']}:{what}") not in self.seen:
            self.seen.add(key)
            unit = next(u for u in self.world.city.units if u.unit_id == alert["unit_id"])
            self.screen.say(
                f"{clock_time(self.world.now_ms)} {text}: {unit.site.name} {unit.name} "
                f"{unit.unit_id} {alert['rule_id']} "
                f"[{severity(alert)}] {peak(alert)}"
            )

    def _acknowledge(self, alert: Json, unit: Unit) -> None:
        path = f"/alerts/{alert['alert_id']}"
        etag = self.api.etag(path)
        body: Json = {"comment": COMMENT}
        self.duty.post(f"{path}/acknowledgements", body, headers={"If-Match": etag})
        self._announce(alert, "acknowledged", "已确认 / acknowledged")
        if not self.held:
            self.held = True
            self.publisher.send(self.world.hold(unit, REASON))

    def settle(self) -> None:
        """Wait until the read models have followed and no notice is on its way."""
        self.api.follow()
        until = time.monotonic() + SETTLE_S
        while time.monotonic() < until:
            states = {
                delivery["state"]
                for alert in self.api.pages("/alerts")
                for delivery in self.api.pages(f"/alerts/{alert['alert_id']}/deliveries")
            }
            if not states & {"queued", "sending"}:
                return
            time.sleep(0.2)


def fridge_in_trouble(world: World) -> Unit:
    """Return the refrigerator whose door will stay open: in use, with a single probe."""
    return world.city.units_at(SITE_IN_TROUBLE, "refrigerator")[1]


def main(argv: list[str] | None = None) -> int:
    """Run the demonstration; exit code 1 when what is stored is not what was sent."""
    parser = Parser("demo", "三天疫苗流通演示", "three days of vaccines")
    parser.add_argument("--json", type=Path, help="摘要写入此文件 | write the summary here")
    parser.add_argument("--days", type=int, default=3, help="天数 | days (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="随机种子 | seed (%(default)s)")
    parser.add_argument(
        "--speed", type=float, default=LIVE_SPEED,
        help="最后一小时的倍速 | how fast the last hour goes (%(default)s)",
    )  # fmt: skip
    given = parser.parse_args(argv)
    api, publisher = connect("demo")
    system = System(secrets.token_hex(16))
    port = os.environ.get(SMTP_PORT)
    mailbox = Mailbox(int(port)) if port else None
    try:
        found = _run(api, publisher, given, system, mailbox)
    finally:
        for thing in (mailbox, system, publisher, api):
            if thing is not None:
                thing.close()
    if given.json:
        given.json.write_text(json.dumps(found.body, ensure_ascii=False, indent=1) + "\n")
    summary.show(found)
    return 0 if found.balanced else 1


def _run(
    api: Api,
    publisher: Publisher,
    given: argparse.Namespace,
    system: System,
    mailbox: Mailbox | None,
) -> Summary:
    clock = api.get("/clock")
    if not clock["stepped"]:
        raise NoInstance("演示需要步进时钟的实例 / the demonstration needs a stepped clock")
    start_ms = _start(milliseconds(moment(clock["now"])))
    end_ms = start_ms + given.days * DAY_MS
    live_end_ms = end_ms + LIVE_MIN * MINUTE_MS
    began = time.monotonic()
    world = World(cities.shizuishan(), start_ms=start_ms, end_ms=live_end_ms, seed=given.seed)
    unit = fridge_in_trouble(world)
    before = api.get("/statistics")
    api.post("/clock", {"now": rfc3339(start_ms)})
    with people.on_duty(api, unit.site.region) as duty:
        demo = Demo(api, duty, publisher, Screen(), world)
        demo.register()
        people.register(api, system, mail=mailbox is not None)
        demo.days(end_ms)
        took_s = time.monotonic() - began
        took = f"{given.days} 天用时 {took_s:.0f} 秒 / {given.days} days took {took_s:.0f} s"
        demo.screen.say(took)
        demo.live_hour(given.speed)
        demo.settle()
    return summary.gather(
        api,
        publisher.tally,
        before=before,
        lot_id=_lot_in(world, unit),
        city=world.city,
        path=_path_to(world.city, unit),
        system=system,
        mailbox=mailbox,
    )


def _lot_in(world: World, unit: Unit) -> str:
    """Return the lot of a product that is kept in this unit."""
    products = world.city.products
    return next(p.lot_id for p in products if unit_for(world.city, unit.site, p) == unit.unit_id)


def _path_to(city: City, unit: Unit) -> tuple[str, ...]:
    """Return the sites from the maker to a unit's site, in the order of the goods."""
    kinds = ("holder", "province_cdc", "city_cdc")
    county = next(s for s in city.of_kind("county_cdc") if s.region == unit.site.region)
    upper = [city.of_kind(kind)[0].site_id for kind in kinds]
    return (*upper, county.site_id, unit.site.site_id)


def _start(now_ms: int) -> int:
    """Return the next local 09:00, not before the first day."""
    now_ms = max(now_ms, milliseconds(moment(FIRST_DAY)))
    today = at_local(local_day(now_ms), BEGINS_LOCAL)
    return today if today >= now_ms else today + DAY_MS


if __name__ == "__main__":
    sys.exit(run(main))
