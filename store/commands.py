"""A command on one stream: load, decide, store; with If-Match, idempotency and claims.

Rules that span streams are kept by claims: a stream of the natural key, appended at version 1 in
the same transaction; the second claim fails in the store itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import psycopg

from domain.shared.errors import Busy, Conflict, StaleVersion
from domain.shared.events import Event
from store.envelope import Envelope, Meta
from store.logs import Ledger
from store.recorder import Also, queries

Decide = Callable[[list[Event]], Sequence[Event]]

# Contention of people on one stream; beyond it the caller is told to try again.
ATTEMPTS_MAX = 8


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer a request got: HTTP status, headers and body bytes."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command did. `position` is where the ledger stood after it."""

    position: int
    version: int
    events: Sequence[Event] = ()
    answer: Answer | None = None
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Idempotency:
    """One request of one principal under one key, and how to answer it."""

    principal: str
    key: str
    request_hash: str
    answer: Callable[[Outcome], Answer]


@dataclass(frozen=True, slots=True)
class Command:
    """What to do on one stream.

    `decide` gets the stream's events and returns new ones (none: nothing to do). Only with new
    events are stored: `claims`, events of other streams at version 1; what `guards` decide, each on
    a stream of its own (a count, a calendar); `before`, SQL of the same transaction. `known`: the
    stream as the caller has read it; it is read again only when it has moved on since.
    """

    stream: UUID
    decide: Decide
    meta: Meta
    expected_version: int | None = None
    claims: Sequence[tuple[UUID, Event]] = ()
    guards: Sequence[tuple[UUID, Decide]] = ()
    before: Also | None = None
    known: Sequence[Envelope] | None = None
    idempotency: Idempotency | None = field(default=None)


def execute(ledger: Ledger, command: Command) -> Outcome:
    """Run a command.

    Errors: StaleVersion when the stream is not at `expected_version`; Conflict("already_claimed")
    for a natural key that is taken; Conflict("idempotency_key_reused") for another request under
    the same key; Busy("busy") after repeated races; whatever `decide` raises.
    """
    for _ in range(ATTEMPTS_MAX):
        if command.idempotency is not None:
            earlier = answered(ledger, command.idempotency)
            if earlier is not None:
                return earlier
        try:
            return _attempt(ledger, command)
        except Conflict as error:
            if error.code != "version_conflict":
                raise
            command = replace(command, known=None)
    raise Busy("busy")


def answered(ledger: Ledger, idempotency: Idempotency) -> Outcome | None:
    """Return the first answer to this request, None when it is new."""
    with ledger.datastore.get_connection() as conn:
        row: Any = conn.execute(
            queries.find_idempotency, (idempotency.principal, idempotency.key)
        ).fetchone()
    if row is None:
        return None
    if row["request_hash"] != idempotency.request_hash:
        raise Conflict("idempotency_key_reused")
    answer = Answer(row["status"], row["headers"], bytes(row["body"]))
    return Outcome(row["position"], row["version"], (), answer, replayed=True)


def _attempt(ledger: Ledger, command: Command) -> Outcome:
    history, version = _loaded(ledger, command.stream, command.known)
    if command.expected_version is not None and command.expected_version != version:
        raise StaleVersion("stale_version", expected=command.expected_version, actual=version)
    events = list(command.decide(history))
    claims = command.claims if events else ()
    for stream, claim in claims:
        if ledger.stream(stream):
            raise Conflict("already_claimed", claim=claim.TOPIC)
    envelopes = [
        Envelope(command.stream, version + n, event, command.meta)
        for n, event in enumerate(events, start=1)
    ]
    envelopes += [Envelope(stream, 1, claim, command.meta) for stream, claim in claims]
    for guard, deciding in command.guards if events else ():
        counted, at = _loaded(ledger, guard)
        envelopes += [
            Envelope(guard, at + n, event, command.meta)
            for n, event in enumerate(deciding(counted), start=1)
        ]
    outcome = Outcome(0, version + len(events), events)
    kept: list[Outcome] = []

    def after(cur: psycopg.Cursor[Any], last: int) -> None:
        position = last or ledger.last_position()
        at = command.meta.recorded_at
        told = replace(outcome, position=position)
        kept.append(remember(cur, command.idempotency, told, at=at))

    before = command.before if events else None
    if envelopes:
        ledger.append(envelopes, before=before, after=after)
    else:
        with ledger.datastore.transaction(commit=True) as cur:
            after(cur, 0)
    return kept[-1]  # a transaction that is tried again calls `after` again


def _loaded(
    ledger: Ledger, stream: UUID, known: Sequence[Envelope] | None = None
) -> tuple[list[Event], int]:
    """Return a stream's events and its version; `known` are its events where they were read."""
    history = ledger.stream(stream) if known is None else known
    version = history[-1].originator_version if history else 0
    return [envelope.event for envelope in history], version


def remember(
    cur: psycopg.Cursor[Any], asked: Idempotency | None, outcome: Outcome, *, at: datetime
) -> Outcome:
    """Store the answer of a command in its own transaction, where one was asked for."""
    if asked is None:
        return outcome
    answer = asked.answer(outcome)
    values = (asked.principal, asked.key, asked.request_hash, answer.status)
    kept = (msgspec.json.encode(answer.headers).decode(), answer.body)
    place = (outcome.position, outcome.version, at)
    try:
        cur.execute(queries.insert_idempotency, values + kept + place)
    except psycopg.errors.UniqueViolation as error:
        # The same request won the race: the next attempt finds its answer.
        raise Conflict("version_conflict") from error
    return replace(outcome, answer=answer)
