"""What subjects of doubt show as of each position of a batch, and the rows that change by it."""

from __future__ import annotations

from collections import ChainMap, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple

from domain.traceability.cases import case_id_of
from domain.traceability.codes import key_code, product_of
from domain.traceability.counts import of_count
from domain.traceability.custody import Book, Product
from domain.traceability.exceptions import (
    SENDING,
    Bill,
    Declaration,
    Finding,
    Ground,
    expanded,
    of_bill,
    of_code,
    of_declaration,
    of_fact,
)
from domain.traceability.facts import Fact, Mention, Step
from domain.traceability.flows import of_balance, told_in_turn
from domain.traceability.journeys import Place
from domain.traceability.kinds import Kind
from domain.traceability.overdue import of_overdue
from domain.traceability.thermal import Excursion
from projections.traceability import stocktaking
from projections.traceability.rows import Cursor, read_fact, read_mentions
from projections.traceability.rows import queries as shared
from store.sql import load_queries

queries = load_queries(Path(__file__).parents[1] / "sql" / "traceability_exceptions.sql")

# What is wrong with the telling alone is told of packs as they were scanned: of what was in one
# then, only how much that was. Whoever asks for the evidence is told each.
_OF_PACKS = frozenset({Kind.LATE_CAPTURE, Kind.ERROR_DECLARED})


@dataclass(slots=True)
class World:
    """What is known beside facts, each with the position it is known since."""

    places: dict[str, list[tuple[int, Place]]] = field(default_factory=dict)
    excursions: dict[str, list[Excursion]] = field(default_factory=dict)
    probes: dict[str, list[tuple[int, int]]] = field(default_factory=dict)  # with since when, ms
    told: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))  # by name

    def ground(
        self,
        at: int,
        product: Mapping[str, Product],
        expires_on: Mapping[str, date],
        text: Mapping[int, str],
    ) -> Ground:
        """Return what was known at a position."""

        def vial(code: int) -> int | None:
            return _product(code, product, text).doses_per_vial

        known = [[e for e in told if e.position <= at] for told in self.excursions.values()]
        return Ground(
            places={s: p for s, told in self.places.items() if (p := _newest(told, at))},
            expires_on=expires_on,
            excursions=[told[-1] for told in known if told],
            probed={
                unit: min(since)
                for unit, told in self.probes.items()
                if (since := [since_ms for position, since_ms in told if position <= at])
            },
            doses_per_vial=vial,
            text=lambda code: key_code(code) or text.get(code),
        )


def _newest(told: Sequence[tuple[int, Place]], at: int) -> Place | None:
    known = [place for position, place in told if position <= at]
    return known[-1] if known else None


def _product(code: int, known: Mapping[str, Product], text: Mapping[int, str]) -> Product:
    name = key_code(code) or text.get(code)
    return known.get(product_of(name), Product()) if name else Product()


def read_world(cur: Cursor, facts: Iterable[Fact]) -> World:
    """Return what is known of the places and devices that these facts name."""
    sites, devices = set[str](), set[str]()
    for fact in facts:
        sites.update(_sites(fact))
        devices.update(_devices(fact))
    found = World()
    names = {"sites": list(sites - {""}), "devices": list(devices - {""})}
    for site_id, position, lat, lon in cur.execute(queries.places, (names["sites"],)):
        found.places.setdefault(site_id, []).append((position, Place(lat, lon)))
        found.told[site_id].add(position)
    for row in cur.execute(queries.excursions, names):
        key, position, device_id, unit_id, site_id, start_ms, end_ms, limit_c, peak_c = row
        read = (device_id, start_ms, end_ms, limit_c, peak_c)
        found.excursions.setdefault(key, []).append(Excursion(*read, unit_id, site_id, position))
        for name in (device_id, unit_id, site_id):
            found.told[name].add(position)
    for unit_id, position, since_ms in cur.execute(queries.probes, (names["devices"],)):
        found.probes.setdefault(unit_id, []).append((position, since_ms))
        found.told[unit_id].add(position)
    return found


def _sites(fact: Fact) -> tuple[str, ...]:
    return fact.site_id, fact.to_site_id, fact.from_site_id


def _devices(fact: Fact) -> tuple[str, ...]:
    return fact.device_id, fact.vehicle_id, fact.unit_id


def units_in_doubt(
    cur: Cursor, book: Book, codes: Iterable[int], first: int, withdrawn: Collection[int]
) -> set[str]:
    """Return the subjects of all that is in those of these codes that moved without a word.

    `first`: where the batch begins that told of them; `withdrawn`: of what it took back.
    """
    moved = [k for k in codes if k in withdrawn or not told_in_turn(book, k, first)]
    return {f"c:{row[0]}" for row in cur.execute(queries.ever_inside, (moved,))} if moved else set()


class _Row(NamedTuple):
    """A finding as it is stored; `k` is the pack where it stands for several `units`."""

    subject: str
    kind: str
    key: str
    top: int | None
    k: int | None
    units: int
    t_ms: int
    site_id: str
    fact_ids: tuple[str, ...]


def look_again(cur: Cursor, subjects: Collection[str], clock: dict[int, int], first: int) -> None:
    """Bring the rows of subjects up to date.

    `clock`: positions of the batch with the ms they were recorded at, of facts from position
    `first` on as they say themselves.
    """
    looking = _Looking(cur, subjects, clock, first)
    alive: dict[str, dict[_Row, str]] = defaultdict(dict)
    for ctid, *told, fact_ids in cur.execute(queries.alive, (sorted(subjects),)):
        row = _Row._make((*told, tuple(fact_ids)))
        alive[row.subject][row] = ctid
    changes = _Changes(looking.clock)
    for subject, seen in looking.rows():
        changes.follow(alive.get(subject, {}), seen)
    if changes.ended:
        cur.execute(queries.end_findings, [list(c) for c in zip(*changes.ended, strict=True)])
    with cur.copy(queries.copy_finding) as copy:
        for values in changes.new:
            copy.write_row(values)


class _Changes:
    """Rows that ended and rows that are new, out of what was seen at position after position."""

    def __init__(self, clock: Mapping[int, int]) -> None:
        self._clock = clock
        self.ended: list[tuple[str, int, int]] = []
        self.new: list[tuple[Any, ...]] = []

    def follow(self, stored: dict[_Row, str], seen: Sequence[tuple[int, set[_Row]]]) -> None:
        """Take what a subject showed; `stored`: its rows that had not ended, by place."""
        since: dict[_Row, int] = {}
        for position, rows in seen:
            for row in [r for r in stored if r not in rows]:
                self.ended.append((stored.pop(row), position, self._clock[position]))
            for row in [r for r in since if r not in rows]:
                self._add(row, since.pop(row), position)
            for row in rows - stored.keys():
                since.setdefault(row, position)
        for row, position in since.items():
            self._add(row, position, None)

    def _add(self, row: _Row, since: int, gone: int | None) -> None:
        case_id = case_id_of(Kind(row.kind), row.key)
        told = (*row[:-1], list(row.fact_ids), since, self._clock[since])
        self.new.append((case_id, *told, gone, None if gone is None else self._clock[gone]))


class _Looking:
    """Everything that the subjects depend on, in parts that have nothing to do with each other."""

    def __init__(
        self, cur: Cursor, subjects: Collection[str], clock: dict[int, int], first: int
    ) -> None:
        ids = [s[2:] for s in subjects if s[0] in "fd"]
        bills = [s[2:] for s in subjects if s[0] == "b"]
        self._declared = {row[0]: row for row in cur.execute(queries.declarations, (ids,))}
        ids += [i for row in self._declared.values() for i in row[2]]
        self._facts = {f.fact_id: f for f in map(read_fact, cur.execute(queries.scans, (ids,)))}
        self._counted = stocktaking.read(cur, subjects)
        self._overdue = stocktaking.bills_overdue(cur, bills)
        roots: dict[str, set[int]] = {s: {int(s[2:])} for s in subjects if s[0] == "c"}
        named: dict[str, set[int]] = defaultdict(set)
        for fact_id, k in cur.execute(queries.codes_of_facts, (ids,)):
            named[fact_id].add(k)
        on_bill: dict[str, set[int]] = defaultdict(set)
        for bill, k in cur.execute(queries.codes_of_bills, (bills,)):
            on_bill[bill].add(k)
        for subject in subjects:
            if subject[0] == "b":
                roots[subject] = on_bill[subject[2:]]
            elif subject[0] in "fd":
                declared = self._declared.get(subject[2:])
                more = declared[2] if declared and subject[0] == "d" else ()
                roots[subject] = {k for i in (subject[2:], *more) for k in named[i]}
            elif subject[0] == "s":
                roots[subject] = self._counted[subject].codes
        self._roots = roots
        codes = sorted({k for found in roots.values() for k in found})
        self._mentions = read_mentions(cur.execute(queries.family, (codes,)))
        lots = list({m.fact.lot_id for m in self._mentions if m.fact.lot_id})
        self._lot_facts = [read_fact(row) for row in cur.execute(queries.lot_facts, (lots,))]
        self._expiries = cur.execute(queries.expiring, (lots,)).fetchall()
        self._products = cur.execute(queries.products).fetchall()
        hashed = [k for k in codes if key_code(k) is None]
        self._texts: dict[int, str] = _texts(cur, hashed)
        facts = {m.fact.position: m.fact for m in self._mentions}
        facts.update((f.position, f) for f in self._facts.values())
        self._world = read_world(cur, facts.values())
        counted = (fact for each in self._counted.values() for fact in each.facts)
        facts.update((fact.position, fact) for fact in (*self._lot_facts, *counted))
        times = {at: fact.recorded_ms for at, fact in facts.items()}
        for each in self._counted.values():
            times |= each.moved_at
        told = {at: ms for at, ms in times.items() if at >= first}
        self.clock: Mapping[int, int] = ChainMap(told, clock)

    def rows(self) -> Iterator[tuple[str, list[tuple[int, set[_Row]]]]]:
        """Return for each subject its rows as of each position that may have changed them."""
        for subjects, mentions in self._parts():
            seen: dict[str, list[tuple[int, set[_Row]]]] = {s: [] for s in subjects}
            changed = self._changed(subjects, mentions)
            for position in sorted(changed):
                book, ground = self._known(mentions, position)
                for subject in changed[position]:
                    found = self._findings(subject, book, ground, mentions, position)
                    seen[subject].append((position, _rows(subject, book, found)))
            yield from seen.items()

    def _changed(
        self, subjects: Iterable[str], mentions: Sequence[Mention]
    ) -> dict[int, list[str]]:
        """Return the subjects that each position of the batch may have changed."""
        family = _Family(mentions)
        found: dict[int, list[str]] = defaultdict(list)
        for subject in subjects:
            named = family.of(self._roots[subject])
            for position in self._positions(subject, (m for k in named for m in family.facts[k])):
                found[position].append(subject)
        return found

    def _parts(self) -> Iterator[tuple[list[str], list[Mention]]]:
        """Return subjects with the facts they depend on, those that share codes together."""
        part = _Union()
        for mention in self._mentions:
            if mention.parent is not None:
                part.join(mention.code, mention.parent)
        for found in self._roots.values():
            for k in found:
                part.join(min(found), k)
        subjects: dict[int | None, list[str]] = defaultdict(list)
        mentions: dict[int | None, list[Mention]] = defaultdict(list)
        for subject, found in sorted(self._roots.items()):
            subjects[part.of(min(found)) if found else None].append(subject)
        for mention in self._mentions:
            mentions[part.of(mention.code)].append(mention)
        for each, names in subjects.items():
            yield names, mentions.get(each, [])

    def _positions(self, subject: str, mentions: Iterable[Mention]) -> set[int]:
        """Return the positions of the batch that may have changed what a subject shows."""
        facts = {m.fact.position: m.fact for m in mentions}
        if subject in self._counted:
            facts |= {fact.position: fact for fact in self._counted[subject].facts}
        elif subject[2:] in self._facts:
            facts[self._facts[subject[2:]].position] = self._facts[subject[2:]]
        lots = {fact.lot_id for fact in facts.values()}
        facts |= {f.position: f for f in self._lot_facts if f.lot_id in lots}
        told = {f.withdrawn_position for f in facts.values() if f.withdrawn_position is not None}
        if subject in self._counted:
            told |= self._counted[subject].moved_at.keys()
        names = {name for f in facts.values() for name in (*_sites(f), *_devices(f))}
        told.update(*(self._world.told[name] for name in names & self._world.told.keys()))
        told.update(row[2] for row in self._expiries if row[0] in lots)
        told.update(at for _, at, _ in self._overdue.get(subject[2:], ()) if subject[0] == "b")
        texts = (key_code(k) or self._texts.get(k) for k in self._roots[subject])
        products = {product_of(text) for text in texts if text}
        told.update(row[3] for row in self._products if row[0] in products)
        declared = self._declared.get(subject[2:])
        more = [declared[4]] if declared else []
        return {p for p in (*facts, *told, *more) if p in self.clock}

    def _known(self, mentions: Sequence[Mention], at: int) -> tuple[Book, Ground]:
        products = {row[0]: Product(row[1], row[2]) for row in self._products if row[3] <= at}
        expires_on = {row[0]: row[1] for row in self._expiries if row[2] <= at}
        book = Book(
            mentions,
            facts=self._lot_facts,
            product=lambda k: _product(k, products, self._texts),
            expires_on=expires_on,
            as_of=at,
        )
        return book, self._world.ground(at, products, expires_on, self._texts)

    def _findings(
        self,
        subject: str,
        book: Book,
        ground: Ground,
        mentions: Sequence[Mention],
        at: int,
    ) -> list[Finding]:
        what, name = subject[0], subject[2:]
        match what:
            case "c":
                code = int(name)
                return [*of_code(book, code, ground), *of_balance(book, [code])]
            case "b":
                bill = _bill(mentions, name, at)
                due = {i: ms for i, told_at, ms in self._overdue.get(name, ()) if told_at <= at}
                return [*of_bill(book, bill), *of_overdue(book, bill, due)]
            case "s":
                return [*map(of_count, self._counted[subject].unexplained(book, at))]
        fact = self._facts.get(name)
        if fact is None:
            return []  # declared wrong before it was told
        codes = tuple(sorted({m.code for m in mentions if m.fact.fact_id == name}))
        if what == "f":
            found = of_fact(fact, codes, ground) if fact.counts(at) else []
            # (Of numbers the stocktaking tells whether they stand.)
            return [f for f in found if f.kind is not Kind.MASS_IMBALANCE]
        _, declared_at, corrective, recorded_ms, position = self._declared[name]
        if max(position, fact.position) > at:
            return []
        said = (fact, codes, _ms(declared_at), recorded_ms, tuple(corrective))
        return of_declaration(book, Declaration(*said))


def _bill(mentions: Iterable[Mention], bill_no: str, at: int) -> Bill:
    bill = Bill()
    for mention in mentions:
        fact = mention.fact
        if fact.bill_no == bill_no and fact.counts(at):
            if fact.step in SENDING:
                bill.sent.append(mention)
            elif fact.step is Step.RECEIVING:
                bill.received.append(mention)
    return bill


def _rows(subject: str, book: Book, findings: Iterable[Finding]) -> set[_Row]:
    """Return the rows of what a subject shows: one a smallest pack, or one a pack scanned."""
    rows, counted = set[_Row](), {kind: set[int | None]() for kind in _OF_PACKS}
    for found in findings:
        inside = [each.code for each in expanded(book, [found])]
        if found.kind in _OF_PACKS and inside:
            inside = [k for k in inside if k not in counted[found.kind]]
            counted[found.kind].update(inside)
            if len(inside) != 1:  # also for none: by the pack scanned it is found again
                rows.add(_row(subject, found, found.code if inside else None, len(inside)))
                continue
        rows.update(_row(subject, found, k, k is not None) for k in inside)
    return rows


def _row(subject: str, found: Finding, k: int | None, units: int) -> _Row:
    # What arrived on a bill is read with the case: else each receipt would write all rows anew.
    short = found.kind is Kind.DATA_WITHOUT_PRODUCT
    facts = found.fact_ids[:1] if short else found.fact_ids
    named = (subject, found.kind.value, found.key, found.code, k, int(units))
    return _Row(*named, found.at[0], found.site_id, facts)


def _texts(cur: Cursor, hashed: Sequence[int]) -> dict[int, str]:
    return dict(cur.execute(shared.code_texts, (list(hashed),)).fetchall()) if hashed else {}


def _ms(time: datetime) -> int:
    return round(time.timestamp() * 1000)


class _Family:
    """Codes with the packs they were in and what was in them, by the facts that say so."""

    def __init__(self, mentions: Iterable[Mention]) -> None:
        self.facts: dict[int, list[Mention]] = defaultdict(list)
        self._up: dict[int, set[int]] = defaultdict(set)
        self._down: dict[int, set[int]] = defaultdict(set)
        for mention in mentions:
            self.facts[mention.code].append(mention)
            if mention.parent is not None:
                self._up[mention.code].add(mention.parent)
                self._down[mention.parent].add(mention.code)

    def of(self, codes: Iterable[int]) -> set[int]:
        """Return codes with all that was ever in them, and all that ever held any of these."""
        return _reached(_reached(codes, self._down), self._up)


def _reached(codes: Iterable[int], steps: Mapping[int, set[int]]) -> set[int]:
    found, waiting = set(codes), list(codes)
    while waiting:
        new = steps.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found


class _Union:
    """Sets of codes that have to do with each other."""

    def __init__(self) -> None:
        self._above: dict[int, int] = {}

    def of(self, code: int) -> int:
        """Return the code that stands for the set."""
        top = self._above.setdefault(code, code)
        while top != self._above[top]:
            top = self._above[top]
        self._above[code] = top
        return top

    def join(self, a: int, b: int) -> None:
        """Make one set of two."""
        a, b = self.of(a), self.of(b)
        self._above[max(a, b)] = min(a, b)
