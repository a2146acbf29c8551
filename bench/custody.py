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
from bench import scans
from bench.asking import Questions, answers, ask, ask_once, position_of
from bench.field import append
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
STEP_S, FOLLOWED_S = 0.1, 600.0
SETTLE = ("VACUUM ANALYZE", "CHECKPOINT")


def w4(options: Options, made: Rig) -> Report:
    """Load scans, rebuild the read model, ask for chains; then the same of the relational peer."""
    events = options.messages or EVENTS
    load(made, events)
    key = issue_key(made)
    codes, lots = scans.sample(events, SAMPLE), scans.lots(events)
    url = str(made.product.instance["api_url"])
    ours = {
        "code": Questions(url, [f"/api/v1/codes/{code}/custody" for code in codes], key),
        "lot": Questions(url, [f"/api/v1/lots/{lot}/chain" for lot in lots], key),
    }
    asked = min(1.0, events / EVENTS)
    recalled = Questions(url, [f"/api/v1/lots/{scans.recalled_lot()}/recall"], key)
    runs = [measured(ours, asked) | recall(recalled, asked) for _ in range(options.runs)]
    product = medians(runs) | kept_answers(made, ours["code"], events)
    with peer(made, events) as address:
        theirs = {
            "code": Questions(address, [f"/codes/{code}" for code in codes]),
            "lot": Questions(address, [f"/lots/{lot}" for lot in lots]),
        }
        beside = [measured(theirs, asked) for _ in range(options.runs)]
    relational_peer = medians(beside)
    return Report(
        work="W4",
        product=product,
        peers={"one table, recursive query": relational_peer},
        ratio_best_peer=ratio(product["code_q_s"], relational_peer["code_q_s"]),
        runs=[*runs, *beside],
        setting={**options.setting, "scans": events, "clients": CLIENTS, "runs": options.runs},
    )


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


def kept_answers(made: Rig, questions: Questions, events: int) -> Figures:
    """Ask as of a position, before and after a tenth as many facts more; count what differs."""
    at = position_of(questions)
    as_of = replace(questions, paths=[f"{path}?as_of={at}" for path in questions.paths[:KEPT]])
    before = answers(as_of)
    more = islice(scans.envelopes(events + events // 10), events, None)
    with Ledger(made.product.dsn) as ledger:
        while chunk := list(islice(more, CHUNK)):
            ledger.append(chunk)
        followed(made, ledger.last_position())
    differing = sum(one != other for one, other in zip(before, answers(as_of), strict=True))
    return {"as_of_asked": len(before), "as_of_differing": differing}


def followed(made: Rig, position: int) -> None:
    """Wait until the follower stands at a position."""
    until = time.monotonic() + FOLLOWED_S
    while any(each.position < position for each in runner.listing(made.product.dsn)):
        if time.monotonic() > until:
            raise SystemExit("未能跟上 / the follower did not catch up")
        time.sleep(STEP_S)


def load(made: Rig, events: int) -> None:
    """Put scans into the ledger and have the read model made of them in bulk."""
    dsn = made.product.dsn
    follower = made.product.pids["project"]
    os.kill(follower, signal.SIGSTOP)  # it would follow meanwhile what is made anew at the end
    try:
        envelopes = scans.envelopes(events)
        with Ledger(dsn) as ledger:
            while chunk := list(islice(envelopes, CHUNK)):
                ledger.append(chunk)
            ledger.append(list(scans.recalled()))
        runner.rebuild(dsn, "traceability")
    finally:
        os.kill(follower, signal.SIGCONT)
    settle(made)


def settle(made: Rig) -> None:
    """Leave nothing to do behind: statistics and visibility known, everything on disk."""
    with psycopg.connect(made.product.superuser_dsn(), autocommit=True) as conn:
        for statement in SETTLE:
            conn.execute(statement)


def issue_key(made: Rig) -> str:
    """Return a new API key that reads everything."""
    key, key_id = f"vxt_{secrets.token_urlsafe(32)}", f"k{secrets.token_hex(6)}"
    issued = ApiKeyIssued(
        key_id=key_id, digest=digest(key), role="cdc", region_code=WHOLE_COUNTRY, label="bench"
    )
    append(made.product.dsn, [(api_key_stream(key_id), 1, issued)], datetime.now(UTC))
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
