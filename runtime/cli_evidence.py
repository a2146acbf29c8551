"""`vaxtrail evidence …`: the key that bundles are signed with, and checking one off line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from runtime.refusal import Refusal
from runtime.signing import public_pem, signing_key
from runtime.terminal import end, say, settings_of

if TYPE_CHECKING:
    from api.oversight.bundle import Verdict

evidence = typer.Typer(no_args_is_help=True, help="监管证据包 | evidence bundles")
NOT_WHOLE = 3


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(evidence, name="evidence")


@evidence.command("key")
def export_key(
    ctx: typer.Context,
    output: Annotated[Path, typer.Option("-o", "--output", help="写入此文件 | file to write")],
) -> None:
    """导出核对证据包用的公钥 | export the public key that bundles are checked with."""
    output.write_text(public_pem(signing_key(settings_of(ctx).data)))
    say(f"公钥已写到 {output}", f"The public key is in {output}")


@evidence.command("check")
def check_bundle(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="证据包 | the bundle")],
    key: Annotated[
        Path | None,
        typer.Option(help="另行取得的公钥；不填用包内的 | public key got by another way"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON")] = False,
) -> None:
    """离线核对证据包：完好 0，不符 3 | check a bundle without a server: 0 whole, 3 not."""
    from api.oversight.bundle import checked

    if not file.is_file():
        raise Refusal(f"没有文件 {file}", f"There is no file {file}.")
    found = checked(file.read_bytes(), None if key is None else _public_key(key))
    if as_json:
        told = {name: getattr(found, name) for name in found.__slots__ if name != "faults"}
        faults = [{"code": code, "what": what} for code, what in found.faults]
        shown = {"whole": found.whole, **told, "faults": faults}
        typer.echo(json.dumps(shown, ensure_ascii=False, indent=2))
    else:
        _tell(found)
    end(0 if found.whole else NOT_WHOLE)


def _tell(found: Verdict) -> None:
    from api.messages import message

    for code, what in found.faults:
        zh, en = message(f"evidence_{code}", {})
        typer.echo(f"✗ {what}: {zh}\n    {en}")
    if found.whole:
        say(
            f"完好：{found.files} 个文件，{found.events} 个事件（{found.withheld} 个只列哈希），"
            f"截至 {found.as_of}",
            f"Whole: {found.files} files, {found.events} events ({found.withheld} by their hash "
            f"alone), as of {found.as_of}",
        )
    if not found.trusted:
        say(
            f"用的是包内的公钥 {found.key_id}；请与签发单位核对，或用 --key 给出",
            f"Checked with the bundle's own key {found.key_id}: compare it with the issuer's, "
            "or name it by --key",
        )


def _public_key(path: Path) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Refusal(f"{path} 不是公钥", f"{path} is no public key.") from error
    if not isinstance(key, Ed25519PublicKey):
        raise Refusal(f"{path} 不是 Ed25519 公钥", f"{path} is no Ed25519 public key.")
    return key
