"""`vaxtrail profile`: how vendors' messages are read; tried before it is switched on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from domain.alerting.watch import to_datetime, to_ms
from domain.cold_chain import payload_profiles as model
from domain.cold_chain.events import PayloadProfilePublished, PayloadProfileWithdrawn
from domain.shared.decide import decide
from domain.shared.errors import Invalid
from ingest import profiles
from ingest.profiles import Found, Profiles
from ingest.refusals import Refused
from ingest.wire import Message
from runtime.cli_keys import meta_of
from runtime.refusal import Refusal
from runtime.services import database_url
from runtime.terminal import clock_of, end, say, settings_of, show
from store.commands import Command, execute
from store.logs import Ledger

profile = typer.Typer(no_args_is_help=True, help="厂商报文模板 | vendors' payload profiles")

TOPICS = (PayloadProfilePublished.TOPIC, PayloadProfileWithdrawn.TOPIC)
PAGE = 500


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(profile, name="profile")


@profile.command("try")
def try_out(
    ctx: typer.Context,
    file: Path,
    sample: Path,
    topic: Annotated[
        str, typer.Option(help="消息的主题 | the topic of the message", show_default=False)
    ] = "",
) -> None:
    """用一条样例消息试用模板，不写入 | read a sample message by a profile; nothing is stored."""
    loaded = profiles.load(file.read_bytes())
    pattern = loaded.profile.topic
    topic = topic or pattern.replace("{", "").replace("}", "")
    names = model.names_in_topic(pattern, topic)
    if names is None:
        raise Invalid("topic_differs", topic=topic, pattern=pattern)
    now_ms = to_ms(clock_of(settings_of(ctx)).now())
    try:
        decoded = profiles.decode(Found(loaded, names), sample.read_bytes(), now_ms)
    except Refused as refused:
        raise Refusal(refused.zh, refused.en) from refused
    for message in decoded.messages:
        _show(message)
    for device_id, fault in decoded.refused.items():
        typer.echo(f"✗ {device_id} {fault.zh}", err=True)
        typer.echo(f"    {fault.en}", err=True)
    count = sum(len(message.ts_ms) for message in decoded.messages)
    say(f"将写入 {count} 条读数", f"{count} readings would be stored")
    end(1 if decoded.refused else 0)


def _show(message: Message) -> None:
    """Print the readings of one device as they would be stored."""
    numbers = [f"{message.boot}/{seq}" if message.sequenced else "" for seq in message.seqs]
    times = [f"{to_datetime(ts_ms):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z" for ts_ms in message.ts_ms]
    values = [["null" if v is None else f"{v:g}" for v in col] for col in message.columns.values()]
    rows = zip(times, numbers, *values, strict=True)
    show(message.device_id, ("ts", "boot/seq", *message.columns), rows)


@profile.command()
def publish(ctx: typer.Context, file: Path) -> None:
    """启用模板，或换上新版本 | put a profile in force, or its next version."""
    loaded = profiles.load(file.read_bytes()).profile
    settings = settings_of(ctx)
    with Ledger(database_url(settings)) as ledger:
        others = {name: each.profile.topic for name, each in _active(ledger).items()}
        deciding = decide(model.evolve, None, model.publish, profile=loaded, others=others)
        stream = model.profile_stream(loaded.profile_id)
        outcome = execute(ledger, Command(stream, deciding, meta_of(settings)))
    what = f"{loaded.profile_id} v{outcome.version}"
    where = model.topic_filter(loaded.topic)
    if outcome.events:
        say(f"已启用 {what}：{where}", f"{what} is in force: {where}")
    else:
        say(f"{what} 未变", f"{what} is in force already")


@profile.command("list")
def list_profiles(ctx: typer.Context) -> None:
    """列出启用的模板 | list the profiles in force."""
    with Ledger(database_url(settings_of(ctx))) as ledger:
        active = _active(ledger)
    for name, each in sorted(active.items()):
        typer.echo(f"{name} v{each.version} {each.profile.topic}  {each.profile.name}")
    say(f"共 {len(active)} 个", f"{len(active)} profiles")


@profile.command()
def withdraw(ctx: typer.Context, identifier: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """停用模板（各版本保留） | put a profile out of force; its versions are kept."""
    settings = settings_of(ctx)
    deciding = decide(model.evolve, None, model.withdraw)
    with Ledger(database_url(settings)) as ledger:
        stream = model.profile_stream(identifier)
        execute(ledger, Command(stream, deciding, meta_of(settings)))
    say(f"已停用 {identifier}", f"{identifier} is out of force")


def _active(ledger: Ledger) -> dict[str, PayloadProfilePublished]:
    found, position = Profiles(), 0
    while page := ledger.read(position, PAGE, TOPICS):
        for recorded in page:
            event = recorded.envelope.event
            if isinstance(event, PayloadProfilePublished | PayloadProfileWithdrawn):
                found.take(event)
        position = page[-1].position
    return found.active
