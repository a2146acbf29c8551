"""W4: how fast the chain of a code and of a lot is told over HTTP, an API key checked."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice

import psycopg

from api.auth import digest
from bench import field, scans
from bench.asking import Questions, answers, ask, ask_once, position_of
from bench.options import Options
from bench.peers import relational
from bench.report import Figures, Report, medians, ratio
from bench.rig import ROOT, Rig
from domain.accounts.events import ApiKeyIssued
from domain.accounts.model import api_key_stream
from domain.shared.ids import WHOLE_COUNTRY
from projections import runner
from runtime.process import free_port
from store.logs import Ledger

EVENTS, CHUNK = 1_000_000, 5_000
CODES_ASKED, LOTS_ASKED = 20_000, 1_000  # questions a run at one client; four clients share twice
RECALLS_ASKED, KEPT = 200, 50
CLIENTS = 4
SAMPLE = 5_000
STEP_S, FOLLOWED_S = 0.1, 3_600.0
SETTLE = ("VACUUM ANALYZE", "CHECKPOINT")


def w4(options: Options, made: Rig) -> Report:
    """Load scans, rebuild the read model, ask for chains; then the same of the relational peer.

    With `options.stored` also of the product when it holds so many.
    """
    events = options.messages or EVENTS
    load(made, 0, events)
    key = issue_key(made)
    runs = asked(options, made, key, events)
    product = medians(runs)
    more = min(events, EVENTS) // 10
    kept = kept_answers(made, code_questions(made, key, events), events, more)
    with peer(made, events) as address:
        theirs = {
            "code": Questions(address, [f"/codes/{code}" for code in scans.sample(events, SAMPLE)]),
            "lot": Questions(address, [f"/lots/{lot}" for lot in scans.lots(events)]),
        }
        share = min(1.0, events / EVENTS)
        beside = [measured(theirs, share) for _ in range(options.runs)]
    grown: list[Figures] = []
    if options.stored > events + more:
        load(made, events + more, options.stored)
        followed(made)
        grown = asked(options, made, key, options.stored)
    relational_peer = medians(beside)
    return Report(
        work="W4",
        product=product | kept | times(product, grown),
        peers={"one table, recursive query": relational_peer},
        ratio_best_peer=ratio(product["code_q_s"], relational_peer["code_q_s"]),
        runs=[*runs, *beside, *grown],
        setting={**options.setting, "scans": events, "clients": CLIENTS, "runs": options.runs},
    )


def asked(options: Options, made: Rig, key: str, events: int) -> list[Figures]:
    """Ask the product, which holds so many scans, for chains and for the recalled lot."""
    url = str(made.product.instance["api_url"])
    share = min(1.0, events / EVENTS)
    chains = {
        "code": code_questions(made, key, events),
        "lot": Questions(url, [f"/api/v1/lots/{lot}/chain" for lot in scans.lots(events)], key),
    }
    recalled = Questions(url, [f"/api/v1/lots/{scans.recalled_lot()}/recall"], key)
    return [measured(chains, share) | recall(recalled, share) for _ in range(options.runs)]


def code_questions(made: Rig, key: str, events: int) -> Questions:
    """Return questions for the chains of codes that so many scans tell to the end."""
    url = str(made.product.instance["api_url"])
    codes = scans.sample(events, SAMPLE)
    return Questions(url, [f"/api/v1/codes/{code}/custody" for code in codes], key)


def times(product: Figures, grown: list[Figures]) -> Figures:
    """Return what the same took with more stored, and how many times as long; nothing if not."""
    if not grown:
        return {}
    found = medians(grown)
    told = {name: found[name] for name in found if name.endswith(("_ms", "_q_s"))}
    slower = {
        f"grown_{name}_times": ratio(told[name], product[name])
        for name in told
        if name.endswith("_p50_ms")
    }
    return {f"grown_{name}": value for name, value in told.items()} | slower


def measured(questions: dict[str, Questions], share: float) -> Figures:
    """Ask for chains from one client, then from four; `share` of the questions of a full run."""
    found: Figures = {}
    for name, times in (("code", CODES_ASKED), ("lot", LOTS_ASKED)):
        asked = max(CLIENTS, int(times * share))
        ask(questions[name], 1, max(1, asked // 10))
        alone = ask(questions[name], 1, asked)
        found[f"{name}_p50_ms"], found[f"{name}_p99_ms"] = alone["p50_ms"], alone["p99_ms"]
        found[f"{name}_q_s"] = ask(questions[name], CLIENTS, asked * 2)["q_s"]
        found[f"{name}_bytes"] = alone["bytes"]
    return found


def recall(questions: Questions, share: float) -> Figures:
    """Ask where every unit of a recalled lot is and who was given it."""
    found = ask(questions, 1, max(1, int(RECALLS_ASKED * share)))
    return {f"recall_{name}": found[name] for name in ("p50_ms", "p99_ms", "bytes")}


def kept_answers(made: Rig, questions: Questions, events: int, more: int) -> Figures:
    """Ask as of a position, before and after so many facts `more`; count what differs."""
    at = position_of(questions)
    as_of = replace(questions, paths=[f"{path}?as_of={at}" for path in questions.paths[:KEPT]])
    before = answers(as_of)
    append(made, events, events + more)
    followed(made)
    differing = sum(one != other for one, other in zip(before, answers(as_of), strict=True))
    return {"as_of_asked": len(before), "as_of_differing": differing}


def followed(made: Rig) -> None:
    """Wait until the follower stands at the end of the ledger."""
    until = time.monotonic() + FOLLOWED_S
    with Ledger(made.product.dsn) as ledger:
        position = ledger.last_position()
    while any(each.position < position for each in runner.listing(made.product.dsn)):
        if time.monotonic() > until:
            raise SystemExit("未能跟上 / the follower did not catch up")
        time.sleep(STEP_S)


def load(made: Rig, first: int, events: int) -> None:
    """Put scans from one on into the ledger and have the read model made of all in bulk."""
    follower = made.product.pids["project"]
    os.kill(follower, signal.SIGSTOP)  # it would follow meanwhile what is made anew at the end
    try:
        append(made, first, events)
        if first == 0:
            with Ledger(made.product.dsn) as ledger:
                ledger.append(list(scans.recalled()))
        runner.rebuild(made.product.dsn, "traceability")
    finally:
        os.kill(follower, signal.SIGCONT)
    settle(made)


def append(made: Rig, first: int, events: int) -> None:
    """Put the scans from one on into the ledger, up to so many."""
    envelopes = islice(scans.envelopes(events), first, None)
    with Ledger(made.product.dsn) as ledger:
        while chunk := list(islice(envelopes, CHUNK)):
            ledger.append(chunk)


def settle(made: Rig) -> None:
    """Leave nothing to do behind: statistics and visibility known, everything on disk."""
    with psycopg.connect(made.product.superuser_dsn(), autocommit=True) as conn:
        for statement in SETTLE:
            conn.execute(statement)


def issue_key(made: Rig, role: str = "cdc") -> str:
    """Return a new API key of a role that reads everything."""
    key, key_id = f"vxt_{secrets.token_urlsafe(32)}", f"k{secrets.token_hex(6)}"
    issued = ApiKeyIssued(
        key_id=key_id, digest=digest(key), role=role, region_code=WHOLE_COUNTRY, label="bench"
    )
    field.append(made.product.dsn, [(api_key_stream(key_id), 1, issued)], datetime.now(UTC))
    wait_for(Questions(str(made.product.instance["api_url"]), ["/api/v1/lots"], key))
    return key


@contextmanager
def peer(made: Rig, events: int) -> Iterator[str]:
    """Run the relational peer on the same facts; give its address."""
    dsn = made.peers_dsn
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(relational.TABLE)
        with conn.cursor() as cur, cur.copy(relational.COPY) as copy:
            copy.set_types(relational.TYPES)
            for row in scans.rows(events):
                copy.write_row(row)
        for statement in (*relational.INDEXES, *SETTLE):
            conn.execute(statement)
    port = free_port()
    command = [sys.executable, "-m", "bench.peers.relational", dsn, str(port)]
    process = subprocess.Popen(command, cwd=ROOT)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(Questions(url, ["/codes/none"]))
        yield url
    finally:
        process.terminate()
        process.wait(10)


def wait_for(questions: Questions) -> None:
    """Wait until a server answers, and answers well."""
    until = time.monotonic() + FOLLOWED_S
    while True:
        try:
            ask_once(questions)
        except (OSError, SystemExit):
            if time.monotonic() > until:
                raise
            time.sleep(STEP_S)
        else:
            return
