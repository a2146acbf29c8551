"""`vaxtrail alert …`: hold the engine against expected episodes, and alerts against their events.

Without a subcommand `vaxtrail alert` is the service itself (`runtime/cli.py`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from domain.alerting.rehearsal import Outcome, Rehearsal, always
from domain.alerting.rules import ThresholdRule, checked_rules
from domain.alerting.watch import Reading
from domain.shared.errors import NotFound
from runtime.refusal import Refusal
from runtime.terminal import end, say, settings_of

MINUTE_MS = 60_000
# Ways in which the readings of a scenario may be mixed up; they are the same in every run.
SHUFFLES, SEED = 100, 7
RULE = "rule"

Rows = Sequence[Reading]


class Rule(msgspec.Struct):
    """A rule as files of scenarios write it: minutes and °C."""

    side: str
    limit: float
    hysteresis: float
    raise_after: float
    clear_after: float
    max_gap: float


class Episode(msgspec.Struct):
    """What must be found, in minutes and °C; null while it is open."""

    start: float
    fired_at: float
    peak: float
    recovered: float | None
    resolved_at: float | None


class Scenario(msgspec.Struct):
    """One stream: (minute, sequence, °C or null) in order of arrival."""

    name: str
    rule: Rule
    readings: list[tuple[float, int, float | None]]
    expected_episodes: list[Episode]
    note: str = ""

    def rehearsal(self) -> Rehearsal:
        """Return the engine under the scenario's rule, with nothing stored."""
        rule = rule_of(self.rule)
        return Rehearsal(always(*checked_rules([rule])))

    def rows(self) -> list[Reading]:
        """Return the readings as the engine takes them."""
        return [(_ms(minute), seq, value) for minute, seq, value in self.readings]

    def expected(self) -> list[Outcome]:
        """Return what must be found."""
        return [
            Outcome(
                _ms(each.start),
                _ms(each.fired_at),
                each.peak,
                None if each.recovered is None else _ms(each.recovered),
                None if each.resolved_at is None else _ms(each.resolved_at),
            )
            for each in self.expected_episodes
        ]


class Scenarios(msgspec.Struct):
    """A file of scenarios."""

    scenarios: list[Scenario]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the service's own name."""
    group = next(g.typer_instance for g in app.registered_groups if g.name == "alert")
    if group is not None:
        group.command()(scenario)
        group.command("replay")(replay)


def rule_of(given: Rule, rule_id: str = RULE) -> ThresholdRule:
    """Return the rule as the engine takes it."""
    return ThresholdRule(
        rule_id=rule_id,
        side=given.side,
        limit_c=given.limit,
        hysteresis_c=given.hysteresis,
        raise_after_min=given.raise_after,
        clear_after_min=given.clear_after,
        max_gap_min=given.max_gap,
        severity="major",
    )


def read_scenarios(content: bytes) -> list[Scenario]:
    """Return the scenarios of a file; Refusal names the place of what is wrong."""
    try:
        return msgspec.json.decode(content, type=Scenarios).scenarios
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(
            f"文件不是告警情景：{error}", f"No file of alert scenarios: {error}"
        ) from None


def scenario(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, metavar="FILE")],
) -> None:
    """用真实引擎检验告警情景，有差异退出码 1 | run scenarios through the engine: 1 if any differs.

    Each as it arrives, with a restart and a repetition at every reading, and in 100 other orders.
    """
    differing = 0
    scenarios = read_scenarios(file.read_bytes())
    for each in scenarios:
        differences = list(differences_of(each))
        differing += bool(differences)
        typer.echo(f"{'✗' if differences else '✓'} {each.name}")
        for line in differences:
            typer.echo(f"    {line}")
    say(
        f"{len(scenarios)} 个情景，{differing} 个有差异",
        f"{len(scenarios)} scenarios, {differing} differ",
    )
    end(1 if differing else 0)


def differences_of(given: Scenario) -> Iterator[str]:
    """Yield the differences of a scenario; of one that is shuffled, those of the first order."""
    rows, expected = given.rows(), given.expected()
    once = _arrived(given, rows)
    yield from _compared("到达顺序 as it arrives", expected, once.outcomes(RULE))
    twice = _arrived(given, rows, restarts=True)
    yield from _compared("重复并重启 twice, restarted", expected, twice.outcomes(RULE))
    if twice.streams != once.streams:
        yield "重复并重启 twice, restarted: 事件不同 other events"
    mixed = random.Random(SEED)  # noqa: S311 (the same in every run, and nobody's secret)
    for n in range(SHUFFLES):
        found = _arrived(given, mixed.sample(rows, len(rows))).outcomes(RULE)
        if found != expected:
            yield from _compared(f"乱序 order {n + 1}", expected, found)
            break


def _arrived(given: Scenario, rows: Rows, *, restarts: bool = False) -> Rehearsal:
    made = given.rehearsal()
    for row in rows:
        made.take([row])
        if restarts:
            made.restart()
            made.take([row])
    return made


def _compared(how: str, expected: Sequence[Outcome], found: Sequence[Outcome]) -> Iterator[str]:
    for outcome in expected:
        if outcome not in found:
            yield f"{how}: − {_shown(outcome)}"
    for outcome in found:
        if outcome not in expected:
            yield f"{how}: + {_shown(outcome)}"


def _shown(outcome: Outcome) -> str:
    minutes = {
        name: None if ms is None else ms / MINUTE_MS
        for name, ms in (
            ("start", outcome.start_ms),
            ("fired_at", outcome.fired_ms),
            ("recovered", outcome.recovered_ms),
            ("resolved_at", outcome.resolved_ms),
        )
    }
    told = ", ".join(f"{name} {value}" for name, value in minutes.items())
    return f"{told}, peak {outcome.peak_c}"


def _ms(minutes: float) -> int:
    return round(minutes * MINUTE_MS)


def replay(
    ctx: typer.Context,
    alert_id: Annotated[str, typer.Argument(metavar="ID", help="告警编号 | the alert's id")],
) -> None:
    """由读数和事件重算一条告警，不符退出码 1 | work an alert out again: 1 if it differs.

    Prints the alert as JSON, worked out from its readings and events; then, line by line, where
    what is shown to people says something else.
    """
    from ingest.retold import retold

    def asked(conn: Any, ledger: Any) -> tuple[bytes, bytes]:
        found = retold(conn, ledger, alert_id)
        if found is None:
            raise NotFound("unknown_alert")
        return found

    again, shown = _with_store(ctx, asked)
    typer.echo(again.decode())
    if again != shown:
        say("与所存不符：", "Not what is stored:")
        mine, theirs = msgspec.json.decode(again), msgspec.json.decode(shown)
        for name in sorted(mine | theirs):
            if mine.get(name) != theirs.get(name):
                typer.echo(f"  {name}: {theirs.get(name)} → {mine.get(name)}")
    end(0 if again == shown else 1)


def _with_store(
    ctx: typer.Context, asked: Callable[[Any, Any], tuple[bytes, bytes]]
) -> tuple[bytes, bytes]:
    import psycopg

    from runtime.services import database_url
    from store.logs import Ledger

    url = database_url(settings_of(ctx))
    with psycopg.connect(url, autocommit=True) as conn, Ledger(url) as ledger:
        return asked(conn, ledger)
