"""`vaxtrail epcis`: look at EPCIS documents without an instance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from api.epcis.validation import Verdict, hash_uris, told, verdict
from api.messages import message
from domain.epcis.events import EventProblem
from runtime.terminal import end, say

epcis = typer.Typer(no_args_is_help=True, help="EPCIS 2.0 文件 | EPCIS 2.0 documents")


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(epcis, name="epcis")


@epcis.command()
def validate(
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, metavar="FILE…")],
    as_json: Annotated[bool, typer.Option("--json", help="JSON")] = False,
) -> None:
    """检查 EPCIS 文件并计算事件哈希；有不合格者退出码 1 | check documents, hash their events."""
    found = {file: verdict(file.read_bytes()) for file in files}
    if as_json:
        told = [_told(file, one) for file, one in found.items()]
        typer.echo(json.dumps(told, ensure_ascii=False, indent=2))
    else:
        for file, one in found.items():
            _show(file, one)
    end(0 if all(one.accepted for one in found.values()) else 1)


def _told(file: Path, found: Verdict) -> dict[str, Any]:
    """Return the verdict on a file as plain values."""
    return {
        "file": str(file),
        "type": found.kind,
        "verdict": "accept" if found.accepted else "reject",
        "eventHashes": hash_uris(found),
        "problems": [told(problem) for problem in found.problems],
        "remarks": [told(remark) for remark in found.remarks],
    }


def _show(file: Path, found: Verdict) -> None:
    typer.echo(f"{'✓' if found.accepted else '✗'} {file}")
    for problem in (*found.problems, *found.remarks):
        zh, en = message(problem.code, problem.facts)
        say(f"    {_place(problem)} {zh}", f"    {_place(problem)} {en}")
    for uri in hash_uris(found):
        typer.echo(f"    {uri}")


def _place(problem: EventProblem) -> str:
    return f"{'' if problem.index is None else f'[{problem.index}]'}{problem.path}"
