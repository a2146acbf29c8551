"""Ordinary lives of codes, followed scan by scan without a book of their chains.

Most codes are commissioned, packed, sent, received, unpacked and given, each scan where the last
one left off. What is told of such a life here is what `custody.Book` tells of it, and `exceptions`
find nothing wrong with any of its scans. A life of which that is not certain has fallen out of the
ordinary: whoever asks must turn to the book.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from domain.traceability.codes import code_key
from domain.traceability.exceptions import SENDING
from domain.traceability.facts import BEGINNING, LEVEL_MAX, Order, Step
from domain.traceability.journeys import Place, impossible
from domain.traceability.states import Status, flag_of_status

NO_END_MS = 2**63
_ON_HAND = (Status.COMMISSIONED, Status.IN_STOCK)
_UNDER_WAY: dict[int, Status] = {
    Step.SHIPPING: Status.IN_TRANSIT,
    Step.RETURNING: Status.RETURNED,
}
# In which states the table of states has nothing against a step, by step.
_FREE: dict[int, frozenset[Status]] = {
    step: frozenset(
        status
        for status in (_UNDER_WAY.values() if step is Step.RECEIVING else _ON_HAND)
        if flag_of_status(step, status) is None
    )
    for step in Step
}


class Told(NamedTuple):
    """A fact as far as an ordinary life depends on it; `codes` and `pack` are keys.

    `codes` are those named, `pack` the one filled or emptied, or the one a dose was taken from;
    `scanned` all that the fact is about, a pack last. `plain`: nothing in the fact by itself sets
    its codes apart; `silent`: nor does it name anything else that something may be known of.
    """

    order: Order
    position: int
    recorded_ms: int
    site_id: str
    to_site_id: str
    lot_id: str
    unit_id: str
    vehicle_id: str
    device_id: str
    level: int | None
    codes: tuple[int, ...]
    pack: int | None
    scanned: tuple[int, ...]
    all_contents: bool
    plain: bool
    silent: bool
    bill_no: str


@dataclass(frozen=True, slots=True)
class Known:
    """What is known beside facts.

    `first`: where the facts begin that may have become known in another order than they happened;
    `bound`: lots held, recalled or condemned as a whole; `until_ms`: the last moment of each lot;
    `doubtful`: sites, devices and vehicles with the moment until which scans there must be held
    against what is known of them; `places`: where sites are, with the position since which that is
    known; `shared`: products with several doses in a vial; `levels`: of packs whose contents may
    not all be told.
    """

    first: int = 0
    bound: Collection[str] = ()
    until_ms: Mapping[str, int] = field(default_factory=dict)
    doubtful: Mapping[str, int] = field(default_factory=dict)
    places: Mapping[str, tuple[int, Place]] = field(default_factory=dict)
    shared: Collection[str] = ()
    levels: Mapping[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Life:
    """What became of a code so far.

    `last`: the newest fact of its chain, `passed` the newest that happened to its contents too,
    and `first` the first of these, each with its position. `began` as commissioned (place, unit):
    None once that says nothing any more of what was never seen put into the pack; `alike`: all
    contents have the pack's state. `parent` is the pack it is in, `stay_in` that or the one it was
    in, from `start` to `end`.
    """

    lot_id: str
    declared: int | None
    site_id: str
    unit_id: str
    until_ms: int
    last: Order
    last_position: int
    level: int
    since_ms: int
    began: tuple[str, str] | None
    status: Status = Status.COMMISSIONED
    sent_from: str = ""
    doses_given: int = 0
    parent: int | None = None
    stay_in: int | None = None
    start: Order = BEGINNING
    end: Order | None = None
    filled: bool = False
    alike: bool = True
    inside: set[int] = field(default_factory=set)
    first: Order | None = None
    first_position: int = 0
    passed: Order | None = None
    passed_position: int = 0

    def scan(self, told: Told) -> None:
        """Take a scan that changes nothing but when the code was seen."""
        self.since_ms, self.last, self.last_position = told.order[0], told.order, told.position

    def go_on(self, told: Told) -> None:
        """Take a scan that happens to the contents as well."""
        self.scan(told)
        self.passed, self.passed_position = told.order, told.position
        if self.first is None:
            self.first, self.first_position = told.order, told.position

    def scan_as_pack(self, told: Told) -> None:
        """Take a scan by which the code was filled or emptied: no content goes through it."""
        if told.unit_id and told.unit_id != self.unit_id:
            self.unit_id, self.began = told.unit_id, None
            self.alike = self.alike and not self.filled
        self.filled = True
        self.scan(told)

    def leave(self, pack: Life, told: Told) -> None:
        """Take over the state of the pack that the code was in until this fact."""
        self.parent, self.end = None, told.order
        self.status, self.site_id, self.unit_id = pack.status, pack.site_id, pack.unit_id
        if pack.passed is not None and pack.passed > self.start:
            self.last, self.last_position = pack.passed, pack.passed_position
            self.passed, self.passed_position = self.last, self.last_position
            self.since_ms = self.last[0]


# A life that is over and told; whatever else is told of its code, it falls.
_OVER = Life("", None, "", "", 0, BEGINNING, 0, 1, 0, None, Status.USED)


class Lives:
    """Lives of codes after the facts taken so far; `fallen` ones are out of the ordinary."""

    def __init__(self, known: Known, fallen: Iterable[int] = ()) -> None:
        self._known = known
        self._doubtful, self._first = known.doubtful, known.first
        self._lives: dict[int, Life | None] = dict.fromkeys(fallen)

    def life(self, code: int) -> Life | None:
        """Return the life of a code, None where it is not an ordinary one."""
        life = self._lives.get(code)
        if life is None or life is _OVER:
            return None
        # In a pack that fell out of the ordinary nothing is certain.
        fell = life.parent is not None and self.life(life.parent) is None
        return None if fell else life

    def fallen(self) -> list[int]:
        """Return the codes that fell out of the ordinary."""
        return [code for code, life in self._lives.items() if life is None]

    def going_on(self) -> Iterator[tuple[int, Life]]:
        """Return the lives that have not fallen and are not forgotten."""
        for code, life in self._lives.items():
            if life is not None and life is not _OVER:
                yield code, life

    def fall(self, codes: Iterable[int]) -> None:
        """Leave these codes to the book."""
        for code in codes:
            self._lives[code] = None

    def forget(self, code: int) -> None:
        """Keep of a life that is over only that it was; whatever comes of the code, it falls."""
        self._lives[code] = _OVER

    def take(self, told: Told) -> None:
        """Go on by one fact."""
        taken = _TAKE.get(told.order[1])
        if taken is None or not told.plain or (self._doubtful and self._in_doubt(told)):
            self.fall(told.scanned)
        else:
            taken(self, told)

    def _in_doubt(self, told: Told) -> bool:
        named = (told.site_id, told.device_id, told.vehicle_id, told.unit_id)
        return told.order[0] <= self._doubtful_until(*named)

    def _doubtful_until(self, *names: str) -> int:
        return max(self._doubtful.get(name, -NO_END_MS) for name in names)

    def _commissioned(self, told: Told) -> None:
        lot_id, t_ms, place = told.lot_id, told.order[0], (told.site_id, told.unit_id)
        low, high = keys_of(lot_id.partition(".")[0])
        until_ms = self._known.until_ms.get(lot_id, NO_END_MS)
        if lot_id in self._known.bound or t_ms > until_ms:
            low, high = 0, -1
        levels = self._known.levels if told.level is None else {}
        for code in told.codes:
            if code in self._lives or not low <= code <= high:
                self._lives[code] = None
                continue
            self._lives[code] = Life(
                lot_id,
                told.level,
                *place,
                until_ms,
                told.order,
                told.position,
                told.level or levels.get(code, 1),
                t_ms,
                place,
            )

    def _next(self, code: int | None, told: Told) -> Life | None:
        """Return the life of a code outside packs that goes on with this scan, else let it fall."""
        life = self._lives.get(code) if code is not None else None
        if (
            life is not None
            and life.parent is None
            and life.status in _FREE[told.order[1]]
            and life.site_id == told.site_id
            # Made, and known, after all that is known of it.
            and life.last < told.order
            and told.order[0] <= life.until_ms
            and (life.last_position < told.position or life.last_position < self._first)
        ):
            return life
        if code is not None:
            self._lives[code] = None
        return None

    def _sent(self, told: Told) -> None:
        status = _UNDER_WAY[told.order[1]]
        for code in told.codes:
            life = self._next(code, told)
            if life is None:
                continue
            if not told.to_site_id:
                self._lives[code] = None
                continue
            life.status, life.sent_from = status, told.site_id
            life.site_id, life.unit_id = told.to_site_id, told.vehicle_id
            life.go_on(told)

    def _received(self, told: Told) -> None:
        for code in told.codes:
            life = self._next(code, told)
            if life is None:
                continue
            # What the goods are said to have come with was with them since they were sent.
            came_in_doubt = life.since_ms <= self._doubtful_until(told.device_id, told.vehicle_id)
            too_fast = life.sent_from != told.site_id and self._too_fast(life, told)
            if came_in_doubt or too_fast:
                self._lives[code] = None
                continue
            life.status, life.unit_id = Status.IN_STOCK, told.unit_id
            life.go_on(told)

    def _too_fast(self, life: Life, told: Told) -> bool:
        """Tell whether it may have come too fast: places told later may have changed that."""
        places = self._known.places
        a, b = places.get(life.sent_from), places.get(told.site_id)
        if a is None or b is None:
            return False
        later = max(a[0], b[0]) > told.position
        return later or impossible(a[1], b[1], told.order[0] - life.since_ms)

    def _seen(self, told: Told) -> None:
        for code in told.codes:
            life = self._next(code, told)
            if life is not None:
                life.unit_id = told.unit_id or life.unit_id
                life.go_on(told)

    def _packed(self, told: Told) -> None:
        pack = self._next(told.pack, told)
        if pack is None or pack.declared == 1:
            self.fall(told.scanned)
            return
        pack.scan_as_pack(told)
        for code in told.codes:
            life = self._next(code, told)
            if life is None:
                continue
            life.unit_id = told.unit_id or life.unit_id
            alike = (life.lot_id, life.status, life.unit_id)
            if (
                life.stay_in is not None
                or alike != (pack.lot_id, pack.status, pack.unit_id)
                or not _raised(pack, life)
            ):
                self._lives[code] = None
                continue
            life.go_on(told)
            life.parent = life.stay_in = told.pack
            life.start = told.order
            pack.inside.add(code)

    def _unpacked(self, told: Told) -> None:
        pack = self._next(told.pack, told)
        if pack is None:
            self.fall(told.codes)
            return
        if told.all_contents:
            for code in tuple(pack.inside):
                self._out_of(pack, code, told)
        for code in told.codes:
            life = self._out_of(pack, code, told)
            if life is not None:
                life.unit_id = told.unit_id or life.unit_id
                life.go_on(told)
        pack.scan_as_pack(told)

    def _out_of(self, pack: Life, code: int, told: Told) -> Life | None:
        """End the stay of a code in the pack that a fact names; a life that cannot be so falls."""
        life = self._lives.get(code)
        pack.inside.discard(code)
        if life is None or life.parent != told.pack or not pack.alike:
            self._lives[code] = None
            return None
        life.leave(pack, told)
        life.last_position = max(life.last_position, told.position)
        return life

    def _given(self, told: Told) -> None:
        if len(told.codes) != 1:
            self.fall(told.codes)
            return
        (code,) = told.codes
        self._taken(code, told)
        life = self._next(code, told)
        if life is None:
            return
        if life.filled or (life.declared or 1) > 1 or self._shared(life):
            self._lives[code] = None
            return
        life.status, life.doses_given = Status.USED, 1
        life.site_id, life.unit_id = told.site_id, told.unit_id
        life.go_on(told)

    def _shared(self, life: Life) -> bool:
        return life.lot_id.partition(".")[0] in self._known.shared

    def _taken(self, code: int, told: Told) -> None:
        """Take a code out of the pack it is in, or was all along as its dose tells."""
        life = self._lives.get(code)
        if life is None:
            return
        inside = life.parent if life.parent is not None else told.pack
        if inside is None or (life.parent is None and life.stay_in == inside):
            return
        pack = self._lives.get(inside)
        if (
            pack is None
            or pack.parent is not None
            or told.pack not in {None, inside}
            or not (pack.alike if life.parent is not None else _all_along(pack, life))
        ):
            self._lives[code] = None
            return
        life.stay_in = inside
        life.leave(pack, told)
        pack.inside.discard(code)
        pack.last = max(pack.last, told.order)  # what the pack goes through before is told too late


def keys_of(product_id: str) -> tuple[int, int]:
    """Return the first and last key of a product's 20-digit codes; for another product none."""
    if len(product_id) != 7 or not product_id.isdigit():
        return 0, -1
    return code_key(product_id.ljust(20, "0")), code_key(product_id.ljust(20, "9"))


def _raised(pack: Life, content: Life) -> bool:
    """Raise the level of a pack above its content's; False where packs above would rise too."""
    level = min(LEVEL_MAX, content.level + 1)
    if (pack.declared or 1) > 1 or pack.level >= level:
        return True
    if pack.stay_in is not None or pack.declared is not None:
        return False  # nor is what was commissioned as a smallest pack one
    pack.level = level
    return True


def _all_along(pack: Life, life: Life) -> bool:
    """Tell whether a code never scanned since it was commissioned went through all the pack did."""
    return (
        life.stay_in is None
        and life.first is None
        and not life.filled
        and pack.first is not None
        and life.last < pack.first
        and life.last_position < pack.first_position
        and life.lot_id == pack.lot_id
        and pack.began == (life.site_id, life.unit_id)
        and _raised(pack, life)
    )


_TAKE: dict[int, Callable[[Lives, Told], None]] = {
    Step.COMMISSIONING: Lives._commissioned,
    Step.PACKING: Lives._packed,
    **dict.fromkeys(SENDING, Lives._sent),
    Step.RECEIVING: Lives._received,
    Step.STORING: Lives._seen,
    Step.CYCLE_COUNTING: Lives._seen,
    Step.UNPACKING: Lives._unpacked,
    Step.DISPENSING: Lives._given,
}
STEPS = frozenset(_TAKE)
