"""Facts between the log and the tables: what is told of each, and its rows as COPY takes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

from domain.shared.events import Event
from domain.traceability.codes import code_key
from domain.traceability.events import (
    CodesCommissioned,
    DoseAdministered,
    GoodsDispatched,
    GoodsReceived,
    PacksAggregated,
    PacksDisaggregated,
    PutAway,
)
from domain.traceability.exceptions import LATE_MS
from domain.traceability.facts import (
    FIELDS,
    STEP_OF,
    Fact,
    FactEvent,
    Mention,
    Step,
    details_of,
    fact_of,
    mentions_of,
)
from domain.traceability.ordinary import Told
from projections.traceability.rows import SAID, Cursor, decode_said, encode_said
from store.envelope import Meta, Recorded

NULL = "\\N"
_SPECIAL = re.compile(r"[\\\t\n\r]")
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _where(event: Any) -> tuple[str, str, str, str, str]:
    """Return the partner, lot, unit, vehicle and device of an event."""
    names = ("to_site_id", "lot_id", "unit_id", "vehicle_id", "device_id")
    partner, lot, unit, vehicle, device = (getattr(event, name, "") for name in names)
    return partner, lot, unit, vehicle, device


def _in_unit(event: Any) -> tuple[str, str, str, str, str]:
    return "", "", event.unit_id, "", ""


# The same for the classes that most facts are of.
_WHERE: dict[Any, Callable[[Any], tuple[str, str, str, str, str]]] = {
    **dict.fromkeys((PacksAggregated, PacksDisaggregated, PutAway, DoseAdministered), _in_unit),
    CodesCommissioned: lambda e: ("", e.lot_id, e.unit_id, "", ""),
    GoodsDispatched: lambda e: (e.to_site_id, "", "", e.vehicle_id, e.device_id),
    GoodsReceived: lambda e: ("", "", e.unit_id, e.vehicle_id, e.device_id),
}


def _speaks(_event: Any) -> bool:
    return False


def _named(event: Any) -> bool:
    return bool(event.codes)


# Which facts show nothing by themselves, whatever is known beside them, told in time.
_SILENT: dict[Any, Callable[[Any], bool]] = {
    **dict.fromkeys((PacksAggregated, PutAway, DoseAdministered), _named),
    PacksDisaggregated: lambda _: True,
    CodesCommissioned: lambda e: bool(e.codes) and e.expires_on is None,
}


class _Shape(NamedTuple):
    """How to read one class of events; `where` gives "" for what the class does not have.

    `said`: all that has no column, first what has one of the `names`, then details; it is `nothing`
    where nothing is said. `silent`: whether a fact shows nothing by itself.
    """

    step: int
    where: Callable[[Any], tuple[str, str, str, str, str]]
    level: bool
    pack: bool
    bill: bool
    names: tuple[str, ...]
    said: attrgetter[Any]
    nothing: tuple[Any, ...]
    silent: Callable[[Any], bool]


def _shape(cls: type[FactEvent]) -> _Shape:
    has = {f.name for f in fields(cls)}
    said = [(name, none) for name, none in SAID if name in has]
    more = [(f.name, f.default) for f in fields(cls) if f.name not in {*FIELDS, "codes", "parent"}]
    return _Shape(
        step=int(STEP_OF[cls]),
        where=_WHERE.get(cls, _where),
        level="level" in has,
        pack="parent" in has,
        bill="bill_no" in has,
        names=tuple(name for name, _ in said),
        # Of two attributes or more attrgetter makes a tuple.
        said=attrgetter("TOPIC", "VERSION", *(name for name, _ in [*said, *more])),
        nothing=(cls.TOPIC, cls.VERSION, *(none for _, none in [*said, *more])),
        silent=_SILENT.get(cls, _speaks),
    )


_SHAPES: dict[type[Event], _Shape] = {cls: _shape(cls) for cls in STEP_OF}


Given = tuple[Told, FactEvent]


def facts_of(batch: Iterable[Recorded]) -> list[Given]:
    """Return the facts among events, each id once (the first holds)."""
    return given((r.position, r.envelope.event, r.envelope.meta) for r in batch)


def given(events: Iterable[tuple[int, Event, Meta]]) -> list[Given]:
    """Return the same of (position, event, what is known of it)."""
    found: dict[str, Given] = {}
    for position, event, meta in events:
        shape = _SHAPES.get(type(event))
        if shape is not None and event.fact_id not in found:  # type: ignore[attr-defined]
            told = _told(event, shape, meta, position)
            found[told.order[2]] = told, event  # type: ignore[assignment]  # a fact
    return list(found.values())


def _told(event: Any, shape: _Shape, meta: Meta, position: int) -> Told:
    pack = code_key(event.parent) if shape.pack and event.parent else None
    codes = tuple(map(code_key, event.codes))
    if len(codes) > 1:
        codes = tuple(dict.fromkeys(codes))
    if pack in codes:  # a pack inside itself is not believed
        codes = tuple(code for code in codes if code != pack)
    t_ms, recorded_ms = ms(meta.occurred_at), ms(meta.recorded_at)
    to_site_id, lot_id, unit_id, vehicle_id, device_id = shape.where(event)
    told = (
        (t_ms, shape.step, event.fact_id),
        position,
        recorded_ms,
        event.site_id,
        to_site_id,
        lot_id,
        unit_id,
        vehicle_id,
        device_id,
        event.level if shape.level else None,
        codes,
        pack,
        codes if pack is None or shape.step == Step.DISPENSING else (*codes, pack),
        shape.step == Step.UNPACKING and not event.codes,
        type(event) is not GoodsReceived or event.accepted,
        recorded_ms - t_ms <= LATE_MS and shape.silent(event),
        event.bill_no if shape.bill else "",
    )
    return tuple.__new__(Told, told)  # what Told(...) does, at a third of the time


def ms(time: datetime) -> int:
    """Return a time as milliseconds since 1970."""
    return round(time.timestamp() * 1000)


def kept(given: Given) -> tuple[Fact, list[Mention]]:
    """Return a fact as the book takes it, with the codes that it names."""
    told, event = given
    fact = fact_of(event, t_ms=told.order[0], recorded_ms=told.recorded_ms, position=told.position)
    return fact, mentions_of(event, fact)


def told_before(rows: Iterable[Sequence[Any]]) -> list[Told]:
    """Return what rows of (k, parent, as_parent, scan.*) tell, but for what was withdrawn.

    Of a fact only those codes are named that the rows name.
    """
    scans: dict[int, Sequence[Any]] = {}
    codes: dict[int, list[int]] = {}
    packs: dict[int, int | None] = {}
    for row in rows:
        position = row[3]
        if row[8] is not None:
            continue
        if position not in scans:
            scans[position], codes[position], packs[position] = row, [], None
        if row[2]:
            packs[position] = row[0]
        else:
            codes[position].append(row[0])
            packs[position] = row[1]
    return [_told_before(row, tuple(codes[p]), packs[p]) for p, row in scans.items()]


def _told_before(row: Sequence[Any], codes: tuple[int, ...], pack: int | None) -> Told:
    position, fact_id, step, t_ms, recorded_ms, _, site_id, to_site_id, lot_id, text = row[3:]
    said = decode_said(text) if text != "{}" else {}
    return Told(
        (t_ms, step, fact_id),
        position,
        recorded_ms,
        site_id,
        to_site_id,
        lot_id,
        said.get("unit_id", ""),
        said.get("vehicle_id", ""),
        said.get("device_id", ""),
        said.get("level"),
        codes,
        pack,
        codes if pack is None or step == Step.DISPENSING else (*codes, pack),
        said.get("all_contents", False),
        said.get("accepted", True),
        True,
        said.get("bill_no", ""),
    )


# ---- rows as COPY takes them ----


def copy_lines(cur: Cursor, statement: Any, lines: Sequence[str]) -> None:
    """COPY rows that are written already."""
    if lines:
        with cur.copy(statement) as copy:
            copy.write("".join(lines))


def escaped(text: str) -> str:
    """Return a text as COPY takes it."""
    return text.translate(_ESCAPES) if _SPECIAL.search(text) else text


# Places and lots: few of them, named again and again.
name = lru_cache(maxsize=4096)(escaped)


def scan_line(given: Given) -> str:
    """Return the row of `scan`."""
    told, event = given
    t_ms, step, fact_id = told.order
    return (
        f"{told.position}\t{escaped(fact_id)}\t{step}\t{t_ms}\t{told.recorded_ms}\t{NULL}\t"
        f"{name(told.site_id)}\t{name(told.to_site_id)}\t{name(told.lot_id)}\t{_said(event)}\n"
    )


def _said(event: FactEvent) -> str:
    """Return the particulars that a fact has no column for, where they say something."""
    shape = _SHAPES[type(event)]
    values = shape.said(event)
    emptied = type(event) is PacksDisaggregated and not event.codes
    if values == shape.nothing and not emptied:
        return "{}"
    details = details_of(event)
    given = zip(shape.names, values[2:], shape.nothing[2:], strict=False)
    said: dict[str, Any] = {each: value for each, value, none in given if value != none}
    if emptied:
        said["all_contents"] = True
    if details:
        said["details"] = details
    return encode_said(said).decode().replace("\\", "\\\\")


def fact_lines(given: Iterable[Given], lots: Mapping[int, str]) -> list[str]:
    """Return the rows of `fact`; `lots`: of each code. A commissioning keeps the lot it names."""
    lines = []
    for told, _ in given:
        (t_ms, step, _), pack = told.order, told.pack
        head = f"\t{t_ms}\t{told.position}\t"
        place = f"\t{step}\t{name(told.site_id)}\t"
        inside = f"{head}{NULL if pack is None else pack}\tf{place}"
        if step == Step.COMMISSIONING:
            inside = f"{inside}{name(told.lot_id)}\n"
            lines += [f"{code}{inside}" for code in told.codes]
            continue
        lines += [f"{code}{inside}{name(lots.get(code, ''))}\n" for code in told.codes]
        if pack is not None and step != Step.DISPENSING:
            lines.append(f"{pack}{head}{NULL}\tt{place}{name(lots.get(pack, ''))}\n")
    return lines


def dose_lines(
    given: Iterable[Given], lots: Mapping[int, str], but: Collection[int] = ()
) -> list[str]:
    """Return the rows of `dose`, one a code that doses were given of, for all `but` these codes."""
    lines = []
    for told, event in given:
        if isinstance(event, DoseAdministered):
            number, recipient = event.dose_number, escaped(event.recipient)
            said = (
                f"\t{name(told.site_id)}\t{told.order[0]}\t{told.position}\t"
                f"{NULL if number is None else number}\t{recipient}\n"
            )
            lines += [
                f"{code}\t{name(lots.get(code, ''))}{said}"
                for code in told.codes
                if code not in but
            ]
    return lines


def movement_line(given: Given) -> str:
    """Return the row of `movement` of a fact on a bill."""
    told, _ = given
    devices = f"{name(told.device_id)}\t{name(told.vehicle_id)}"
    return (
        f"{told.position}\t{told.order[1]}\t{escaped(told.bill_no)}\t{devices}\t"
        f"{len(told.scanned)}\n"
    )
