"""`vaxtrail capture` and `vaxtrail trace`: documents into the instance, and questions about them.

Both do what the API does, by the same functions, in the name of the operator.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from runtime.cli_keys import ACTOR
from runtime.refusal import Refusal
from runtime.services import database_url
from runtime.terminal import clock_of, end, say, settings_of, show

if TYPE_CHECKING:
    from api.auth import Principal
    from api.deps import Deps
    from api.paging import Page
    from ingest.filed import Stored

trace = typer.Typer(no_args_is_help=True, help="追溯查询 | questions about custody")
AsOf = Annotated[
    str | None,
    typer.Option("--as-of", metavar="POSITION|TIME", help="当时所知 | as known then"),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON，与接口答复一致 | as the API answers")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command("capture")(capture)
    app.add_typer(trace, name="trace")


@contextmanager
def deps_of(ctx: typer.Context) -> Iterator[Deps]:
    """Give what the API's functions work with."""
    from psycopg_pool import ConnectionPool

    from api.deps import Deps
    from store.logs import Ledger, Telemetry

    settings = settings_of(ctx)
    url = database_url(settings)
    pool: ConnectionPool[Any] = ConnectionPool(
        url, min_size=1, max_size=2, kwargs={"autocommit": True}, open=True
    )
    with pool, Ledger(url) as ledger, Telemetry(url) as telemetry:
        yield Deps(
            ledger=ledger,
            telemetry=telemetry,
            pool=pool,
            clock=clock_of(settings),
            readiness=dict,
        )


def operator(*, asking: bool = True) -> Principal:
    """Return in whose name the command line acts: it does everything.

    When `asking` it sees what disease control sees, people's pseudonyms among it.
    """
    from api.auth import Principal
    from domain.shared.ids import WHOLE_COUNTRY
    from domain.shared.roles import Role

    return Principal(ACTOR, Role.CDC if asking else Role.ADMIN, WHOLE_COUNTRY)


def capture(
    ctx: typer.Context,
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, metavar="FILE…")],
    master: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="单位、产品、批次 | sites, products, lots"),
    ] = None,
    readings: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="温度读数 CSV | temperatures as CSV"),
    ] = None,
) -> None:
    """写入 EPCIS 文件，可重复执行 | take in EPCIS documents; doing it twice changes nothing.

    FILE: a document, or a JSON document a line, or lines of {captureTime, document}.
    """
    from api.intake import Intake

    with deps_of(ctx) as deps:
        told = Intake(deps, operator(asking=False)).run(files, master=master, readings=readings)
        stored = _stored(ctx, told.readings) if told.readings else None
        position = f"L{deps.ledger.last_position()}.T{deps.telemetry.last_position()}"
    for zh, en in told.errors:
        typer.echo(zh, err=True)
        typer.echo(en, err=True)
    say(
        f"新写入 {told.stored} 份，已有 {told.known} 份，错误 {len(told.errors)}，位置 {position}",
        f"{told.stored} stored, {told.known} known, {len(told.errors)} wrong, at {position}",
    )
    if stored is not None:
        count, known, refused = stored.new, stored.known, len(stored.refused)
        say(
            f"读数：新写入 {count} 条，已有 {known} 条，拒收消息 {refused} 条",
            f"readings: {count} stored, {known} known; {refused} messages refused",
        )
    end(1 if told.errors or (stored and stored.refused) else 0)


def _stored(ctx: typer.Context, messages: Sequence[tuple[str, bytes]]) -> Stored:
    from ingest.filed import store
    from ingest.link import AlreadyRunning

    settings = settings_of(ctx)
    try:
        return store(database_url(settings), clock_of(settings), messages)
    except AlreadyRunning:
        raise Refusal(
            "另一个 capture 正在写入读数，请稍后再试",
            "Another capture is storing readings: try again when it is done",
        ) from None


def _answer(ctx: typer.Context, ask: Callable[[Deps], Any], *, as_json: bool) -> dict[str, Any]:
    with deps_of(ctx) as deps:
        body = ask(deps).body
    if as_json:
        typer.echo(body.decode())
    found: dict[str, Any] = orjson.loads(body)
    return found


def _shown(found: dict[str, Any], *, as_json: bool) -> None:
    if not as_json:
        typer.echo(json.dumps(found, ensure_ascii=False, indent=2))


def _paged(deps: Deps, ask: Callable[[Deps, Page, str | None], Any], as_of: str | None) -> Any:
    """Return the answer with the rows of all its pages, as of the position of the first."""
    from api.paging import LIMIT_MAX, Page, decode

    items: list[Any] = []
    cursor, at = None, _position(as_of, deps)
    while True:
        answer = ask(deps, Page(LIMIT_MAX, cursor), at)
        found = orjson.loads(answer.body)
        items += found["items"]
        if not found["next"]:
            answer.body = orjson.dumps({**found, "items": items})
            return answer
        cursor, at = decode(found["next"]), at or found["as_of"]


def _position(as_of: str | None, deps: Deps) -> str | None:
    """Return a position in full: the number alone is one of the ledger."""
    if as_of is None or not as_of.isdecimal():
        return as_of
    return f"L{as_of}.T{deps.telemetry.last_position()}"


def _lot(deps: Deps, named: str) -> str:
    """Return a lot id: as it stands, or that of the one lot that has this number."""
    from domain.traceability.lots import LOT_PATTERN
    from projections.traceability.recalls import lots_of_number

    if re.fullmatch(LOT_PATTERN, named):
        return named
    with deps.pool.connection() as conn:
        found = lots_of_number(conn, named)
    return found[0] if len(found) == 1 else named


@trace.command("code")
def trace_code(ctx: typer.Context, code: str, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """一个追溯码的全程 | the chain of one code."""
    from api.custody import read_code_custody

    def ask(deps: Deps) -> Any:
        return read_code_custody(code, operator(), deps, _position(as_of, deps))

    _shown(_answer(ctx, ask, as_json=as_json), as_json=as_json)


@trace.command("lot")
def trace_lot(ctx: typer.Context, lot: str, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """一个批次的逐环节 | a lot hop by hop."""
    from api.lot_custody import read_lot_custody

    def ask(deps: Deps) -> Any:
        return read_lot_custody(_lot(deps, lot), operator(), deps, _position(as_of, deps))

    _shown(_answer(ctx, ask, as_json=as_json), as_json=as_json)


@trace.command("place")
def trace_place(ctx: typer.Context, site: str, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """一个单位的库存 | what is at a place."""
    from api.lot_custody import list_stock

    def ask(deps: Deps, page: Page, at: str | None) -> Any:
        return list_stock(who=operator(), deps=deps, page=page, site_id=site, as_of=at)

    _shown(_answer(ctx, lambda deps: _paged(deps, ask, as_of), as_json=as_json), as_json=as_json)


@trace.command("exceptions")
def trace_exceptions(
    ctx: typer.Context,
    *,
    kind: Annotated[str | None, typer.Option(help="种类 | kind")] = None,
    state: Annotated[str, typer.Option(help="open | closed | resolved | all")] = "open",
    region: Annotated[str | None, typer.Option(help="地区 | region")] = None,
    site: Annotated[str | None, typer.Option(help="单位 | site")] = None,
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """异常清单，逐条列出追溯码与证据 | exceptions, each with its codes and evidence."""
    from api.exceptions import list_exceptions
    from domain.traceability.kinds import Kind

    def ask(deps: Deps, page: Page, at: str | None) -> Any:
        return list_exceptions(
            who=operator(),
            deps=deps,
            page=page,
            kind=None if kind is None else _kind(Kind, kind),
            state=None if state == "all" else state,
            region=region,
            site_id=site,
            codes=True,
            as_of=at,
        )

    found = _answer(ctx, lambda deps: _paged(deps, ask, as_of), as_json=as_json)
    if not as_json:
        rows = [
            (c["kind"], c["severity"], c["site_id"], c["units"], c["occurred_at"], c["due_at"])
            for c in found["items"]
        ]
        columns = ("种类 kind", "级别", "单位 site", "支 units", "发生 occurred", "时限 due")
        show(f"异常 exceptions {found['as_of']}", columns, rows)


def _kind(kinds: Any, named: str) -> Any:
    try:
        return kinds(named.upper())
    except ValueError:
        raise typer.BadParameter(f"{named}: {', '.join(kinds)}", param_hint="--kind") from None


@trace.command("balance")
def trace_balance(
    ctx: typer.Context, lot: str, as_of: AsOf = None, as_json: AsJson = False
) -> None:
    """一个批次的数量平衡 | the mass balance of a lot by place."""
    from api.recalls import read_lot_balance

    def ask(deps: Deps) -> Any:
        return read_lot_balance(_lot(deps, lot), operator(), deps, _position(as_of, deps))

    _shown(_answer(ctx, ask, as_json=as_json), as_json=as_json)


@trace.command("recall")
def trace_recall(ctx: typer.Context, lot: str, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """一个批次每支现在何处、给了谁 | where every unit of a lot is, and who was given it."""
    from api.recalls import read_lot_recall

    def ask(deps: Deps) -> Any:
        return read_lot_recall(_lot(deps, lot), operator(), deps, _position(as_of, deps))

    _shown(_answer(ctx, ask, as_json=as_json), as_json=as_json)
