"""`vaxtrail clinic …`: a clinic's signed snapshot, checks off it, and a journal sent later."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from domain.shared.errors import NotFound
from domain.traceability.codes import canonical
from domain.traceability.times import AHEAD_MAX
from domain.vaccination.snapshot import judge_offline
from runtime import folder
from runtime.journal import Journal, scan_id
from runtime.refusal import Refusal
from runtime.services import database_url
from runtime.settings import Settings
from runtime.signing import public_pem, signing_key
from runtime.terminal import clock_of, end, say, settings_of

clinic = typer.Typer(no_args_is_help=True, help="接种门诊离线工作 | a clinic without the server")

TIMEOUT_S = 30.0
MAY_NOT = 3
KEY_NAME = "snapshot-key.pem"

Output = Annotated[Path, typer.Option("-o", "--output", help="写入此文件 | file to write")]
Server = Annotated[
    str, typer.Option(help="API 地址；不填用本机实例 | address of the API; else the local instance")
]
KeyFile = Annotated[
    Path | None, typer.Option(help="存放 API 密钥的文件 | file that holds the API key")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(clinic, name="clinic")


@clinic.command("key")
def export_key(
    ctx: typer.Context, output: Output, server: Server = "", key_file: KeyFile = None
) -> None:
    """导出核对快照用的公钥 | export the public key that snapshots are checked with."""
    settings = settings_of(ctx)
    if server:
        with _client(settings, server, key_file) as client:
            pem = str(_answer(client.get("/vaccination/snapshot-key")).json()["pem"])
    else:
        pem = public_pem(signing_key(settings.data))
    output.write_text(pem)
    say(f"公钥已写到 {output}", f"The public key is in {output}")


@clinic.command("snapshot")
def save_snapshot(
    ctx: typer.Context,
    site: Annotated[str, typer.Argument(metavar="SITE", help="接种单位 | the clinic's site")],
    output: Output,
    server: Server = "",
    key_file: KeyFile = None,
) -> None:
    """保存接种单位库存的签名快照 | save a clinic's stock as a signed file."""
    settings = settings_of(ctx)
    if server:
        with _client(settings, server, key_file) as client:
            file = _answer(client.get(f"/vaccination/snapshots/{site}")).content
    else:
        file = _local_snapshot(settings, site)
    folder.write_private(output, file.decode())
    say(f"快照已写到 {output}", f"The snapshot is in {output}")


@clinic.command("check")
def check_codes(
    ctx: typer.Context,
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="快照 | the snapshot")],
    codes: Annotated[list[str], typer.Argument(metavar="CODE…", help="追溯码 | codes")],
    key: Annotated[
        Path | None,
        typer.Option(help=f"公钥；不填用快照旁的 {KEY_NAME} | else {KEY_NAME} beside it"),
    ] = None,
    journal: Annotated[
        Path | None, typer.Option(help="本机离线记录，一并计入 | the local journal, counted in")
    ] = None,
    site: Annotated[
        str, typer.Option(help="本接种单位；快照须是它的 | this clinic, whose snapshot it must be")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """离线检查能否接种：都可 0，有不可 3 | may these be used: 0 all, 3 not all; no server."""
    from api.injections import verdict_told
    from api.snapshot_file import opened

    known = opened(file.read_bytes(), _public_key(key or file.with_name(KEY_NAME)))
    if site not in {"", known.site_id}:
        raise Refusal(
            f"这份快照是 {known.site_id} 的，不是 {site} 的",
            f"This is the snapshot of {known.site_id}, not of {site}.",
        )
    now = clock_of(settings_of(ctx)).now()
    since = Journal(journal).since() if journal else []
    told = []
    for code in codes:
        text = canonical(code)
        verdict = judge_offline(known, text, at=now, since=since)
        told.append({"code": text, **verdict_told(verdict)})
    if as_json:
        about = {"site_id": known.site_id, "made_at": known.made_at.isoformat()}
        until = {"valid_until": known.valid_until.isoformat(), "position": known.position}
        typer.echo(json.dumps({**about, **until, "codes": told}, ensure_ascii=False, indent=2))
    else:
        for each in told:
            _show(each)
    end(0 if all(each["may"] for each in told) else MAY_NOT)


@clinic.command("record")
def record_scan(
    ctx: typer.Context,
    *,
    journal: Annotated[Path, typer.Argument(metavar="JOURNAL", help="离线记录 | the journal")],
    codes: Annotated[list[str], typer.Argument(metavar="CODE…", help="追溯码 | codes")],
    site: Annotated[str, typer.Option(help="接种单位 | the clinic's site")],
    step: Annotated[str, typer.Option(help="步骤，如 dispensing | the step, e.g. dispensing")],
    at: Annotated[
        str, typer.Option(help="发生时间，带时区；不填为现在 | when, with its offset; else now")
    ] = "",
    recipient: Annotated[str, typer.Option(help="受种者代号 | the person's pseudonym")] = "",
    vaccinator: Annotated[str, typer.Option(help="接种人员代号 | who gave it, a pseudonym")] = "",
    dose: Annotated[int | None, typer.Option(help="本支第几剂 | which dose of the vial")] = None,
    doses: Annotated[int | None, typer.Option(help="报废剂数 | doses wasted")] = None,
    unit: Annotated[str, typer.Option(help="冷链设备 | cold unit")] = "",
    reason: Annotated[str, typer.Option(help="原因 | reason")] = "",
    fact_id: Annotated[str, typer.Option("--id", help="记录编号 | id of the fact")] = "",
) -> None:
    """离线记下一次扫码，落盘后才应答 | put down a scan; it is on disk before this answers."""
    given = {
        "recipient": recipient,
        "vaccinator": vaccinator,
        "dose": dose,
        "doses": doses,
        "unit": unit,
        "reason": reason,
    }
    scan: dict[str, Any] = {
        "site": site,
        "step": step,
        "codes": [canonical(code) for code in codes],
        "at": _moment(at, clock_of(settings_of(ctx)).now()),
        **{name: value for name, value in given.items() if value not in {"", None}},
    }
    scan["fact_id"] = fact_id or scan_id(scan)
    if Journal(journal).append(scan):
        say(f"已记下 {scan['fact_id']}", f"Recorded {scan['fact_id']}")
    else:
        say(f"早已记下 {scan['fact_id']}", f"{scan['fact_id']} was recorded before")


@clinic.command("sync")
def sync_journal(
    ctx: typer.Context,
    journal: Annotated[Path, typer.Argument(metavar="JOURNAL", help="离线记录 | the journal")],
    server: Annotated[str, typer.Option(help="API 地址 | address of the API")],
    key_file: Annotated[Path, typer.Option(help="存放 API 密钥的文件 | file with the API key")],
    as_json: AsJson = False,
) -> None:
    """补传离线记录，可重复执行 | send what was recorded; doing it twice changes nothing."""
    settings = settings_of(ctx)
    if not journal.exists():
        raise Refusal(f"没有离线记录 {journal}", f"There is no journal {journal}.")
    with _client(settings, server, key_file) as client:

        def send(scan: dict[str, Any]) -> tuple[int, dict[str, Any]]:
            answer = client.post("/scans", json=scan)
            if answer.status_code == httpx.codes.UNAUTHORIZED:
                _answer(answer)
            return answer.status_code, _json(answer)

        found = Journal(journal).sync(send, clock_of(settings).now())
    told = {name: getattr(found, name) for name in found.__slots__}
    if as_json:
        typer.echo(json.dumps(told, ensure_ascii=False, indent=2))
    else:
        for each in found.refused:
            typer.echo(f"{each['fact_id']}: {each['problem'].get('title_zh', '')}", err=True)
            typer.echo(f"    {each['problem'].get('title_en', '')}", err=True)
        refused, late, waiting = len(found.refused), found.late, found.waiting
        say(
            f"新传 {found.sent}，早已有 {found.known}，迟报 {late}，被拒 {refused}，待传 {waiting}",
            f"{found.sent} sent, {found.known} known, {late} late, {refused} refused, "
            f"{waiting} waiting",
        )
    end(1 if found.refused or found.waiting else 0)


def _local_snapshot(settings: Settings, site: str) -> bytes:
    """Return the snapshot of a site off the database of this machine."""
    from psycopg_pool import ConnectionPool

    from api.deps import Deps
    from api.facts import site_region
    from api.snapshot_file import sealed
    from api.snapshots import snapshot_of
    from store.logs import Ledger, Telemetry

    app_dsn = database_url(settings)
    pool: ConnectionPool[Any] = ConnectionPool(
        app_dsn, min_size=1, max_size=1, kwargs={"autocommit": True}, open=True
    )
    with pool, Ledger(app_dsn) as ledger, Telemetry(app_dsn) as telemetry:
        deps = Deps(ledger, telemetry, pool, clock_of(settings), dict)
        if site_region(deps, site) is None:
            raise NotFound("unknown_site")
        return sealed(snapshot_of(deps, site), signing_key(settings.data))


def _client(settings: Settings, server: str, key_file: Path | None) -> httpx.Client:
    if key_file is None:
        raise Refusal("请用 --key-file 给出密钥文件", "Name the file of the API key: --key-file.")
    return httpx.Client(
        base_url=f"{server.rstrip('/')}/api/v1",
        headers={"Authorization": f"Bearer {key_file.read_text().strip()}"},
        timeout=TIMEOUT_S,
        trust_env=False,
    )


def _answer(answer: httpx.Response) -> httpx.Response:
    if answer.is_success:
        return answer
    body = _json(answer)
    zh, en = body.get("title_zh", ""), body.get("title_en", "")
    raise Refusal(f"服务器拒绝：{answer.status_code} {zh}", f"Refused: {answer.status_code} {en}")


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _public_key(path: Path) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(path.read_bytes())
    except ValueError as error:
        raise Refusal(f"{path} 不是公钥", f"{path} is no public key.") from error
    if not isinstance(key, Ed25519PublicKey):
        raise Refusal(f"{path} 不是 Ed25519 公钥", f"{path} is no Ed25519 public key.")
    return key


def _moment(text: str, now: datetime) -> str:
    if not text:
        return now.isoformat()
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise Refusal(f"时间 {text} 须带时区", f"The time {text} needs its offset.")
    if found > now + AHEAD_MAX:
        raise Refusal(f"时间 {text} 还没有到", f"The time {text} has not come yet.")
    return found.astimezone(UTC).isoformat()


def _show(told: dict[str, Any]) -> None:
    """Tell a verdict in both languages."""
    may = ("可以使用 may be used", "不得使用 MAY NOT be used")[not told["may"]]
    typer.echo(f"{told['code']}  {may}")
    for each in (*told["reasons"], *told["cautions"]):
        typer.echo(f"    {each['title_zh']}：{each['todo_zh']}")
        typer.echo(f"    {each['title_en']}: {each['todo_en']}")
