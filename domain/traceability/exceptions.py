"""What is wrong between goods and record: findings read off facts, master data and excursions.

Nothing is refused for it and nothing is repaired: facts stay as they were told. A finding says that
one code (or a fact without one) shows one kind; findings with the same kind and key are one case.
They follow from what is known, in any order of arrival, so a late fact or a withdrawal takes a
finding back by itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import product
from typing import NamedTuple

from domain.traceability.codes import key_code, product_of
from domain.traceability.custody import Book
from domain.traceability.facts import Fact, Mention, Order, Step
from domain.traceability.journeys import Place, impossible
from domain.traceability.kinds import YIELDS, Kind
from domain.traceability.progress import ZONE, Entry
from domain.traceability.states import Flag
from domain.traceability.thermal import Excursion, Whereabouts, whereabouts

# What is told later than this after it happened is told late.
LATE_MS = 24 * 3_600_000
_LAST_STEP = 1000  # after every step of the same moment
_NOTHING = frozenset[Kind]()

# What a flag of a dose is called; those of other steps have the names of their kinds.
_OF_USES = {Flag.EXPIRED: Kind.EXPIRED_USE, Flag.RECALLED: Kind.RECALLED_USE}
SENDING = frozenset({Step.SHIPPING, Step.RETURNING})
_ON_BILLS = SENDING | {Step.RECEIVING}
# What is said of single codes and of nothing else.
_OF_CODES = _ON_BILLS | {Step.DISPENSING}
# What is told at a desk tells nothing of where the goods are.
AT_A_DESK = frozenset(
    {
        Step.ACKNOWLEDGING,
        Step.ADJUSTING,
        Step.HOLDING,
        Step.CONDEMNING,
        Step.RELEASING,
        Step.LOSING,
    }
)


class Finding(NamedTuple):
    """One code, as scanned, that shows a kind; `code` None = the fact names none.

    `key` names the case among those of its kind; a case is of one place, `site_id`, where it is to
    be settled. `at` is the moment whose contents of the code are meant, `fact_ids` the evidence, in
    order.
    """

    kind: Kind
    key: str
    code: int | None
    at: Order
    site_id: str
    fact_ids: tuple[str, ...]


class Declaration(NamedTuple):
    """A fact that was declared wrong: what it named, and when that was said and known."""

    fact: Fact
    codes: tuple[int, ...]
    declared_ms: int
    recorded_ms: int
    corrective_fact_ids: tuple[str, ...]


def _nowhere() -> Mapping[str, Place]:
    return {}


@dataclass(frozen=True, slots=True)
class Ground:
    """What is known beside the facts: registered sites, expiry days of lots, excursions.

    `probed`: units in which a probe stood, with the moment since which (ms). `text` gives the
    canonical code of a key, None where it is not known.
    """

    places: Mapping[str, Place] = field(default_factory=_nowhere)
    expires_on: Mapping[str, date] = field(default_factory=dict)
    excursions: Sequence[Excursion] = ()
    probed: Mapping[str, int] = field(default_factory=dict)
    doses_per_vial: Callable[[int], int | None] = lambda _code: None
    text: Callable[[int], str | None] = key_code


@dataclass(slots=True)
class Bill:
    """What was said on one bill: shipments, arrivals, and the codes they named."""

    sent: list[Mention] = field(default_factory=list)
    received: list[Mention] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Case:
    """All findings of one kind and key; codes are smallest packs, ascending."""

    kind: Kind
    key: str
    codes: tuple[int, ...]
    fact_ids: tuple[str, ...]
    site_id: str
    t_ms: int


def find(
    book: Book,
    ground: Ground,
    *,
    declarations: Iterable[Declaration] = (),
    codeless: Iterable[Fact] = (),
) -> list[Case]:
    """Return all cases of a book, oldest first; `codeless`: facts that name no code."""
    found = findings(book, ground, declarations=declarations, codeless=codeless)
    return cases_of(single(found))


def findings(
    book: Book,
    ground: Ground,
    *,
    declarations: Iterable[Declaration] = (),
    codeless: Iterable[Fact] = (),
) -> list[Finding]:
    """Return all findings of a book, of the smallest packs, doubles among them."""
    found = [f for code in book.codes for f in of_code(book, code, ground)]
    facts, bills = _facts_and_bills(book)
    for fact, codes in facts:
        found += of_fact(fact, codes, ground)
    for bill in bills.values():
        found += of_bill(book, bill)
    for declaration in declarations:
        found += of_declaration(book, declaration)
    found += [f for fact in codeless for f in of_fact(fact, (), ground)]
    return expanded(book, found)


def _facts_and_bills(
    book: Book,
) -> tuple[list[tuple[Fact, tuple[int, ...]]], dict[str, Bill]]:
    facts: dict[str, tuple[Fact, list[int]]] = {}
    bills: dict[str, Bill] = defaultdict(Bill)
    for code in book.codes:
        for mention in book.mentions(code):
            fact = mention.fact
            facts.setdefault(fact.fact_id, (fact, []))[1].append(code)
            if fact.bill_no and fact.step in SENDING:
                bills[fact.bill_no].sent.append(mention)
            elif fact.bill_no and fact.step is Step.RECEIVING:
                bills[fact.bill_no].received.append(mention)
    return [(fact, tuple(dict.fromkeys(codes))) for fact, codes in facts.values()], bills


def cases_of(findings: Iterable[Finding]) -> list[Case]:
    """Return findings put together by kind and key, oldest first."""
    groups: dict[tuple[Kind, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        groups[finding.kind, finding.key].append(finding)
    cases = [
        Case(
            kind=kind,
            key=key,
            codes=tuple(sorted({f.code for f in found if f.code is not None})),
            fact_ids=tuple(sorted({fact_id for f in found for fact_id in f.fact_ids})),
            site_id=min(found, key=lambda f: (f.at, f.site_id)).site_id,
            t_ms=min(f.at[0] for f in found),
        )
        for (kind, key), found in groups.items()
    ]
    return sorted(cases, key=lambda c: (c.t_ms, c.kind, c.key))


def expanded(book: Book, findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings of the smallest packs in the codes scanned, at the moment meant."""
    return [
        finding._replace(code=code)
        for finding in findings
        for code in ((None,) if finding.code is None else smallest(book, finding.code, finding.at))
    ]


def smallest(book: Book, code: int, at: Order) -> list[int]:
    """Return the smallest packs in a code at a moment; itself when it held nothing until then."""
    return list(dict.fromkeys(_smallest(book, code, at, ())))


def _smallest(book: Book, code: int, at: Order, above: tuple[int, ...]) -> Iterator[int]:
    if code in above:
        return
    ever = ((c, stay) for c in sorted(book.contents.get(code, ())) for stay in book.stays(c))
    packed = [(c, stay) for c, stay in ever if stay.parent == code and stay.start <= at]
    for child, stay in packed:
        if stay.covers(at):
            yield from _smallest(book, child, at, (*above, code))
    if not packed:
        yield code


def single(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings without doubles; general kinds give way to telling ones of code and fact.

    What a fact tells of no code in particular (numbers that differ) gives way to missing codes.
    """
    found = list(dict.fromkeys(findings))
    told: dict[tuple[int | None, str], set[Kind]] = defaultdict(set)
    for finding in found:
        codes = {finding.code}
        if finding.kind is Kind.DATA_WITHOUT_PRODUCT:
            codes.add(None)
        for named in product(codes, finding.fact_ids):
            told[named].add(finding.kind)
    return [
        f
        for f in found
        if all(YIELDS.get(f.kind, _NOTHING).isdisjoint(told[f.code, i]) for i in f.fact_ids)
    ]


def of_fact(fact: Fact, codes: Sequence[int], ground: Ground) -> list[Finding]:
    """Return what is wrong with a fact whatever else is known of its codes."""
    kinds = [kind for kind, wrong in _OF_FACT.items() if wrong(fact, codes, ground)]
    return [
        Finding(kind, fact.fact_id, code, fact.order, fact.site_id, (fact.fact_id,))
        for kind in kinds
        for code in ((None,) if kind in _OF_NUMBERS else codes or (None,))
    ]


def _late(fact: Fact, _codes: Sequence[int], _ground: Ground) -> bool:
    return fact.recorded_ms - fact.t_ms > LATE_MS


def _without_code(fact: Fact, codes: Sequence[int], _ground: Ground) -> bool:
    return not codes and fact.step in _OF_CODES


def _damaged(fact: Fact, _codes: Sequence[int], _ground: Ground) -> bool:
    return fact.step is Step.RECEIVING and not fact.accepted


def _data_error(fact: Fact, codes: Sequence[int], ground: Ground) -> bool:
    if fact.step is not Step.COMMISSIONING:
        return _unknown_partner(fact, codes, ground)
    printed, known = fact.more.get("expires_on"), ground.expires_on.get(fact.lot_id)
    return printed is not None and known is not None and printed != known.isoformat()


def _unknown_partner(fact: Fact, _codes: Sequence[int], ground: Ground) -> bool:
    named = {fact.to_site_id, fact.from_site_id} - {""}
    return fact.site_id in ground.places and not named <= ground.places.keys()


def _temperature_missing(fact: Fact, _codes: Sequence[int], ground: Ground) -> bool:
    since_ms = ground.probed.get(fact.vehicle_id)
    if fact.step is not Step.RECEIVING or since_ms is None or fact.t_ms < since_ms:
        return False
    return (fact.temperature_c, fact.transport_c_min, fact.transport_c_max) == (None, None, None)


def _number_differs(fact: Fact, _codes: Sequence[int], _ground: Ground) -> bool:
    counted = fact.more.get("quantities", ()) if fact.step in _ON_BILLS else ()
    return any(each["due"] != each["actual"] for each in counted)


def _count_differs(fact: Fact, _codes: Sequence[int], _ground: Ground) -> bool:
    if fact.step is Step.ADJUSTING:
        return bool(fact.units)
    counted = fact.more.get("quantities", ()) if fact.step is Step.CYCLE_COUNTING else ()
    return any(each["due"] != each["actual"] for each in counted)


_OF_NUMBERS = frozenset({Kind.QUANTITY_MISMATCH, Kind.MASS_IMBALANCE})
_OF_FACT: dict[Kind, Callable[[Fact, Sequence[int], Ground], bool]] = {
    Kind.LATE_CAPTURE: _late,
    Kind.CODE_MISSING_ON_RECORD: _without_code,
    Kind.DAMAGED: _damaged,
    Kind.DATA_ERROR: _data_error,
    Kind.QUANTITY_MISMATCH: _number_differs,
    Kind.MASS_IMBALANCE: _count_differs,
    Kind.TEMPERATURE_MISSING: _temperature_missing,
}


def of_declaration(book: Book, declared: Declaration) -> list[Finding]:
    """Return that a fact was declared wrong, with the codes of what stands in its place."""
    fact, key = declared.fact, declared.fact.fact_id
    wanted = set(declared.corrective_fact_ids)
    corrected = [
        (code, mention.fact)
        for code in (book.codes if wanted else ())
        for mention in book.mentions(code)
        if mention.fact.fact_id in wanted and not mention.as_parent
    ]
    found = [
        Finding(Kind.ERROR_DECLARED, key, code, fact.order, fact.site_id, (key,))
        for code in declared.codes
    ]
    found += [
        Finding(Kind.ERROR_DECLARED, key, code, other.order, fact.site_id, (other.fact_id,))
        for code, other in sorted(corrected, key=lambda told: (told[1].order, told[0]))
    ]
    if declared.recorded_ms - declared.declared_ms > LATE_MS:
        found += [f._replace(kind=Kind.LATE_CAPTURE) for f in found if f.fact_ids == (key,)]
    return found


def of_bill(book: Book, bill: Bill) -> list[Finding]:
    """Return what was sent on a bill, did not arrive with the rest, and was not seen since.

    Each way from a sender to a receiver is a bill of its own: others may use the same number. Of
    one of which nothing arrived nobody can say yet whether it is late.
    """
    if not bill.received or {m.code for m in bill.sent} <= {m.code for m in bill.received}:
        return []
    ways: dict[tuple[str, str], list[Mention]] = defaultdict(list)
    for mention in _ordered(bill.sent):
        ways[mention.fact.site_id, mention.fact.to_site_id].append(mention)
    arrived = [(m.fact, set(smallest(book, m.code, m.fact.order))) for m in _ordered(bill.received)]
    receivers = [receiver for _, receiver in ways]
    found = []
    for (sender, receiver), sent in ways.items():
        # Of a receipt that does not say whose goods it is about, its place tells, if it can.
        unnamed = {"", sender} if receivers.count(receiver) == 1 else {sender}
        due = [(m.fact, c) for m in sent for c in smallest(book, m.code, m.fact.order)]
        codes = {code for _, code in due}
        receipts = dict.fromkeys(
            fact.fact_id
            for fact, there in arrived
            if not codes.isdisjoint(there)
            or (receiver in {"", fact.site_id} and fact.from_site_id in unnamed)
        )
        codes.difference_update(*(there for _, there in arrived))
        found += [
            Finding(
                Kind.DATA_WITHOUT_PRODUCT,
                f"{fact.bill_no}/{sender}/{receiver}",
                code,
                fact.order,
                receiver or sender,
                (fact.fact_id, *receipts),
            )
            for fact, code in due
            if receipts and code in codes and not _seen_since(book, code, fact.order)
        ]
    return found


def _ordered(mentions: Iterable[Mention]) -> list[Mention]:
    return sorted(mentions, key=lambda m: (m.fact.order, m.code))


def _seen_since(book: Book, code: int, order: Order) -> bool:
    return any(e.order > order and e.fact.step not in AT_A_DESK for e in book.chain(code))


def of_code(book: Book, code: int, ground: Ground) -> list[Finding]:
    """Return what the chain of a code shows about scans of it, and of packs of what is held."""
    chain = book.chain(code)
    reader = _Reader(book, code, ground)
    found = [f for entry in chain for f in reader.take(entry)]
    found += _unknown(book, code, chain)
    if ground.excursions:
        found += _exposures(book, code, chain, ground)
    return found


def _unknown(book: Book, code: int, chain: Sequence[Entry]) -> list[Finding]:
    """Return the first scan of a code that nobody commissioned, unless it is known as a pack."""
    own = [e for e in chain if not e.inherited]
    if not own or any(e.as_parent or e.fact.step is Step.COMMISSIONING for e in own):
        return []
    return [_of_use_or_scan(Kind.UNKNOWN_CODE, code, own[0].fact)]


def _of_use_or_scan(kind: Kind, code: int, fact: Fact, *earlier: str) -> Finding:
    """Return a finding at a fact: a case a dose, or a case for all codes of another scan."""
    use = fact.step is Step.DISPENSING
    key = f"{fact.fact_id}/{code}" if use else fact.fact_id
    return Finding(kind, key, code, fact.order, fact.site_id, (*earlier, fact.fact_id))


class _Reader:
    """Reads the chain of one code from its beginning and tells what each own scan shows."""

    def __init__(self, book: Book, code: int, ground: Ground) -> None:
        self._code, self._ground = code, ground
        self._book, self._judged = book, book.judged(code)
        self._held_back = book.held_back(code)
        self._lot_id = book.progress(code).lot_id
        self._pack = any(m.as_parent for m in book.mentions(code))
        self._left = {stay.end: stay.parent for stay in book.stays(code)}
        self._named = {m.fact.fact_id: m.parent for m in book.mentions(code) if not m.as_parent}
        self._last: Fact | None = None  # the last scan that tells where the code is
        self._site_id = ""  # where it is then, or goes to
        self._missing = False

    def take(self, entry: Entry) -> Iterator[Finding]:
        """Go on by one entry of the chain."""
        fact = entry.fact
        if not entry.inherited:
            for kind in self._kinds(entry):
                moved = kind in {Kind.MASS_IMBALANCE, Kind.WRONG_DESTINATION} and self._last
                told = (self._last.fact_id,) if moved and self._last else ()
                yield _of_use_or_scan(kind, self._code, fact, *told)
        elif fact.fact_id in self._held_back and not self._told_by_pack(entry):
            yield _of_use_or_scan(Kind(self._held_back[fact.fact_id]), self._code, fact)
        if fact.step not in AT_A_DESK:
            self._last = fact
            self._site_id = (fact.step in SENDING and fact.to_site_id) or fact.site_id
        self._missing = fact.step is Step.LOSING or (self._missing and fact.step in AT_A_DESK)

    def _told_by_pack(self, entry: Entry) -> bool:
        """Tell whether what a hold forbade is told by the pack that the code was in."""
        packs = (s.parent for s in self._book.stays(self._code) if s.covers(entry.order))
        return any(entry.fact.fact_id in self._book.held_back(pack) for pack in packs)

    def _kinds(self, entry: Entry) -> Iterator[Kind]:
        fact = entry.fact
        for flag in sorted(self._judged.get(fact.fact_id, ())):
            use = fact.step is Step.DISPENSING
            yield (_OF_USES.get(flag) if use else None) or Kind(flag.value)
        if fact.step in {Step.SHIPPING, Step.RECEIVING} and self._expired(fact):
            yield Kind.EXPIRED
        if fact.step not in AT_A_DESK and self._last is not None:
            yield from self._movement(fact, self._last)
        if not entry.as_parent and self._broken(fact):
            yield Kind.HIERARCHY_BROKEN
        if fact.step is Step.COMMISSIONING and self._other_product(fact):
            yield Kind.DATA_ERROR

    def _movement(self, fact: Fact, last: Fact) -> Iterator[Kind]:
        nowhere = Place()
        a, b = (self._ground.places.get(f.site_id, nowhere) for f in (last, fact))
        if last.site_id != fact.site_id and impossible(a, b, fact.t_ms - last.t_ms):
            yield Kind.IMPOSSIBLE_JOURNEY
        if self._site_id == fact.site_id:
            return
        if fact.step is not Step.RECEIVING:
            yield Kind.MASS_IMBALANCE
        elif last.step in SENDING:
            yield Kind.WRONG_DESTINATION
        elif self._missing:
            yield Kind.PRODUCT_WITHOUT_DATA

    def _expired(self, fact: Fact) -> bool:
        expires_on = self._ground.expires_on.get(self._lot_id)
        if expires_on is None:
            return False
        at = datetime.fromtimestamp(fact.t_ms / 1000, UTC)
        return at.astimezone(ZONE).date() > expires_on

    def _broken(self, fact: Fact) -> bool:
        """Tell whether a scan contradicts the packs: in two at once, taken from another, a pack."""
        left, named = self._left.get(fact.order), self._named.get(fact.fact_id)
        if fact.step is Step.DISPENSING and self._pack:
            return True
        told = fact.step in {Step.PACKING, Step.DISPENSING} and left is not None
        return told and named is not None and left != named

    def _other_product(self, fact: Fact) -> bool:
        text = self._ground.text(self._code)
        return text is not None and fact.lot_id.partition(".")[0] != product_of(text)


def _exposures(book: Book, code: int, chain: Sequence[Entry], ground: Ground) -> Iterator[Finding]:
    """Return the excursions that a code was exposed to, and the doses given of it afterwards.

    What was in a pack then is told of by the pack.
    """
    uses = [e.fact for e in chain if e.fact.step is Step.DISPENSING and not e.inherited]
    for stay in whereabouts(chain, ground.doses_per_vial(code)):
        for excursion in ground.excursions:
            if not stay.exposed(excursion):
                continue
            at: Order = (max(stay.start_ms, excursion.start_ms), _LAST_STEP, "")
            if not any(packed.covers(at) for packed in book.stays(code)):
                yield _exposure(code, at, stay, excursion)
            for fact in uses:
                if fact.t_ms >= excursion.end_ms:
                    kind, facts = Kind.USE_AFTER_EXCURSION, (fact.fact_id,)
                    key = f"{excursion.key}/{fact.site_id}"
                    yield Finding(kind, key, code, fact.order, fact.site_id, facts)


def _exposure(code: int, at: Order, stay: Whereabouts, excursion: Excursion) -> Finding:
    facts = stay.fact_ids if stay.moving else ()
    site_id = excursion.site_id or stay.site_id
    key = f"{excursion.key}/{site_id}"
    return Finding(Kind.THERMAL_EXCURSION, key, code, at, site_id, facts)
