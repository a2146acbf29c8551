"""Read a vendor's own JSON by a published profile: which expression says where what stands is data.

Expressions (JMESPath) see four names: `topic` (what stands for {device} and {gateway}), `message`,
`device` (one of the list `devices`, the message itself where the profile has none) and `reading`
(one of the list `readings` of a device, the device itself where there is none). An empty list is a
message that tells nothing; a list that is not there is a fault.

The first message on a topic compiles its profile. What a message can make the expressions do is
bounded; faults of one device leave those of the others alone.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, NamedTuple

import jmespath
import msgspec
from jmespath import exceptions, visitor

from domain.cold_chain.events import (
    BOOT_UNSEQUENCED,
    PayloadChannel,
    PayloadProfile,
    PayloadProfilePublished,
    PayloadProfileWithdrawn,
    PayloadTime,
)
from domain.cold_chain.payload_profiles import (
    NUMBER_FORMS,
    RFC_3339,
    checked_profile,
    converted,
    expressions,
    names_in_topic,
    offset_of,
    topic_filter,
)
from domain.shared.errors import Invalid
from ingest import wire
from ingest.ranges import SEQ_END
from ingest.refusals import Refused
from ingest.wire import Message, Value

# Steps of all expressions on one message, a list or text counting as many as it is long: three
# times what 500 readings of 16 channels need, less than a second.
WORK_MAX = 1_000_000
# Of a device's own id; what cannot stand in ours becomes a hyphen: 86:AB -> 86-AB.
DEVICE_ID_LENGTH_MAX = 64
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_-]")
# What the library raises on data that do not fit an expression.
_FAULTS = (ValueError, TypeError, AttributeError, ArithmeticError, RecursionError)


class _Absent(Enum):
    """The value of a channel that a reading does not tell of."""

    ABSENT = None


class _Read(NamedTuple):
    """A reading as it stands in the message, with the channels that it tells of."""

    ts_ms: int
    seq: int | None
    boot: int
    values: dict[str, Value]


class Found(NamedTuple):
    """A profile, and what a topic names for its {device} and {gateway}."""

    profile: Compiled
    names: Mapping[str, str]


class Decoded(NamedTuple):
    """The messages of one packet, and by device why its readings are refused.

    A device has a message for each set of channels that its readings tell of.

    A fault before the device is known stands under the empty name.
    """

    messages: tuple[Message, ...]
    refused: dict[str, Refused]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A profile and its expressions, by field: a path where one is no more, else a syntax tree."""

    profile: PayloadProfile
    trees: Mapping[str, Any]


@dataclass(slots=True)
class Profiles:
    """The profiles in force, in memory."""

    active: dict[str, PayloadProfilePublished] = field(default_factory=dict)
    _compiled: dict[str, Compiled] = field(default_factory=dict)
    _ever: set[str] = field(default_factory=set)  # filters, of all versions

    def take(self, event: PayloadProfilePublished | PayloadProfileWithdrawn) -> None:
        """Fold a profile's event in."""
        self._compiled.pop(event.profile_id, None)
        if isinstance(event, PayloadProfilePublished):
            self.active[event.profile_id] = event
            self._ever.add(topic_filter(event.profile.topic))
        else:
            self.active.pop(event.profile_id, None)

    def find(self, topic: str) -> Found | None:
        """Return the profile whose topic this is. Refused when it cannot be compiled any more."""
        for profile_id, published in self.active.items():
            names = names_in_topic(published.profile.topic, topic)
            if names is None:
                continue
            if profile_id not in self._compiled:
                try:
                    self._compiled[profile_id] = compiled(published.profile)
                except Invalid as error:
                    raise Refused("bad_profile", profile=profile_id, text=error) from error
            return Found(self._compiled[profile_id], names)
        return None

    def filters(self) -> list[str]:
        """Return the subscriptions that the profiles need beside our own topics."""
        return filters(published.profile for published in self.active.values())

    def dropped(self) -> list[str]:
        """Return the subscriptions that profiles needed once: a broker's session still has them."""
        return sorted(self._ever.difference(self.filters()))


def filters(profiles: Iterable[PayloadProfile]) -> list[str]:
    """Return the MQTT filters of profiles, ascending."""
    return sorted({topic_filter(profile.topic) for profile in profiles})


def load(file: bytes) -> Compiled:
    """Return the profile in a TOML file, compiled. Invalid names what is wrong with it."""
    try:
        raw = tomllib.loads(file.decode())
        profile = msgspec.convert(raw, PayloadProfile)
    except (ValueError, msgspec.ValidationError) as error:
        raise Invalid("bad_profile_file", reason=error) from error
    _check_names(raw, PayloadProfile, "")
    _check_names(raw["time"], PayloadTime, "time.")
    for name, channel in raw["channels"].items():
        _check_names(channel, PayloadChannel, f"channels.{name}.")
    return compiled(checked_profile(profile))


def _check_names(table: dict[str, Any], kind: type, prefix: str) -> None:
    for unknown in sorted(table.keys() - {each.name for each in fields(kind)}):
        raise Invalid("unknown_field", field=f"{prefix}{unknown}")


def compiled(profile: PayloadProfile) -> Compiled:
    """Return a profile with its expressions parsed. Invalid("bad_expression") names a wrong one."""
    trees = {}
    for name, expression in expressions(profile).items():
        try:
            tree = jmespath.compile(expression).parsed
            _Search().visit(tree, {})  # finds functions that are none
            trees[name] = _path(tree) or tree
        except exceptions.JMESPathTypeError:
            trees[name] = tree  # the fault is the empty message's that it was tried on
        except (*_FAULTS, _Exhausted) as error:
            reason = _reason(error)
            raise Invalid("bad_expression", field=name, value=expression, reason=reason) from error
    return Compiled(profile, trees)


def _path(tree: Any) -> tuple[str | int, ...]:
    """Return the steps of an expression that is a path (`a.b[0].c`), none for any other.

    Most are, and the library takes nearly twenty times as long.
    """
    if tree["type"] in {"field", "index"}:
        return (tree["value"],)
    if tree["type"] not in {"subexpression", "index_expression"}:
        return ()
    parts = [_path(child) for child in tree["children"]]
    return tuple(step for part in parts for step in part) if all(parts) else ()


def _reason(error: Exception) -> str:
    """Return the library's reason in one line, with the column where it has one."""
    column = getattr(error, "lex_position", None)
    if column is None:
        return " ".join(str(error).split()) or type(error).__name__
    return f"{getattr(error, 'msg', None) or getattr(error, 'message', '')} (column {column + 1})"


def as_name(vendors: str) -> str:
    """Return a vendor's own id of a device or gateway as it is registered with us."""
    return _NOT_IN_A_NAME.sub("-", vendors)


def decode(found: Found, payload: bytes, now_ms: int) -> Decoded:
    """Return what a packet tells by its profile; Refused when it cannot be read at all."""
    body = wire.unpacked(payload)
    try:
        message = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused("bad_json", text=error) from error
    try:
        return _Reader(found, message, now_ms).decode()
    except _Exhausted:
        raise Refused("profile_work", profile=found.profile.profile.profile_id) from None


class _Exhausted(Exception):
    """The expressions have done all the work that one message may make them do."""


class _Search(visitor.TreeInterpreter):  # type: ignore[misc]  # the library has no types
    """The library's interpreter; it counts its steps and notes what is looked for in vain."""

    def __init__(self) -> None:
        super().__init__()
        self.absent = False
        self._left = WORK_MAX

    def visit(self, node: Any, *args: Any, **kwargs: Any) -> Any:
        """Count a step and what it gives."""
        found = super().visit(node, *args, **kwargs)
        self._left -= 1 + (len(found) if isinstance(found, list | dict | str) else 0)
        if self._left < 0:
            raise _Exhausted("too much to do")
        return found

    def visit_field(self, node: Any, value: Any) -> Any:
        """Tell what is null from what is not there."""
        return self.follow((node["value"],), value)

    visit_index = visit_field

    def follow(self, path: tuple[str | int, ...], found: Any) -> Any:
        """Return what stands at the end of a path, None where there is nothing."""
        for step in path:
            kind = dict if isinstance(step, str) else list
            holder: Any = found if isinstance(found, kind) else {}
            try:
                found = holder[step]
            except LookupError:
                self.absent = True
                return None
        return found


class _Reader:
    """One message, and where in it the profile is reading."""

    def __init__(self, found: Found, message: Any, now_ms: int) -> None:
        self._profile, self._trees = found.profile.profile, found.profile.trees
        self._now_ms = now_ms
        self._search = _Search()
        self._scope: dict[str, Any] = {"topic": dict(found.names), "message": message}
        self._place = ""

    def decode(self) -> Decoded:
        """Read all, device by device."""
        scopes = list(self._scopes())
        if not scopes:
            return Decoded((), {})
        wire.checked_count(len(scopes))
        reads: dict[str, list[_Read]] = {}
        refused: dict[str, Refused] = {}
        for self._place, self._scope in scopes:
            device_id = ""
            try:
                device_id = self._device_id()
                reads.setdefault(device_id, []).append(self._reading())
            except Refused as fault:
                refused.setdefault(device_id, fault)
        messages: list[Message] = []
        for device_id in [each for each in reads if each not in refused]:
            try:
                messages += self._messages(device_id, reads[device_id])
            except Refused as fault:
                refused[device_id] = fault
        return Decoded(tuple(messages), refused)

    def _scopes(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield where each reading stands and what its expressions see."""
        base = self._scope
        for at_device, device in self._list("devices", base["message"]):
            self._scope = {**base, "device": device}
            self._place = at_device
            for at_reading, reading in self._list("readings", device):
                yield f"{at_device} {at_reading}".strip(), {**self._scope, "reading": reading}

    def _list(self, name: str, otherwise: Any) -> list[tuple[str, Any]]:
        """Return the items of a list and where they stand; `otherwise` where there is no list."""
        if name not in self._trees:
            return [("", otherwise)]
        found = self._value(name)
        if not isinstance(found, list):
            raise self._fault("profile_list", name, value=_shown(found))
        return [(f"{name}[{n}]", each) for n, each in enumerate(found)]

    def _device_id(self) -> str:
        found = self._value("device")
        text = str(found) if isinstance(found, int | str) else ""
        if isinstance(found, bool) or not 0 < len(text) <= DEVICE_ID_LENGTH_MAX:
            raise self._fault("profile_device", "device", value=_shown(found))
        return as_name(text)

    def _reading(self) -> _Read:
        seq = self._whole("sequence", SEQ_END)
        boot = self._whole("boot", BOOT_UNSEQUENCED)
        every = {name: self._channel(name, each) for name, each in self._profile.channels.items()}
        told = {name: value for name, value in every.items() if not isinstance(value, _Absent)}
        return _Read(self._ts_ms(), seq, boot or 0, told)

    def _ts_ms(self) -> int:
        time, name = self._profile.time, "time.value"
        found = self._value(name)
        text = found if isinstance(found, str) else ""
        try:
            if time.form in NUMBER_FORMS:
                return round(_number(found) * NUMBER_FORMS[time.form])
            if time.form == RFC_3339:
                return wire.checked_ms(text)
            moment = datetime.strptime(text, time.form).replace(tzinfo=offset_of(time))
            return (moment - wire.EPOCH) // timedelta(milliseconds=1)
        except (*_FAULTS, Refused):
            shown = _shown(found)
            raise self._fault("profile_time", name, value=shown, form=time.form) from None

    def _whole(self, name: str, end: int) -> int | None:
        """Return a whole number in 0 … end-1; None where the profile names none."""
        if name not in self._trees:
            return None
        found = self._value(name)
        try:
            number = _number(found)
        except _FAULTS:
            number = -1.0
        if not (number.is_integer() and 0 <= number < end):
            raise self._fault("profile_whole", name, value=_shown(found))
        return int(number)

    def _channel(self, channel: str, wanted: PayloadChannel) -> Value | _Absent:
        """Return a channel's value in our unit, None where the probe is said to be unplugged."""
        if wanted.valid and not self._valid(f"channels.{channel}.valid"):
            return None
        name = f"channels.{channel}.value"
        found = self._value(name)
        if found is None:
            return _Absent.ABSENT if self._search.absent else None
        if isinstance(found, bool) and not wanted.unit:
            return found
        if isinstance(found, str) and found in wanted.sentinels:
            return None
        try:
            number = _number(found)
            if number in wanted.sentinels:
                return None
            return converted(number, wanted.unit, wanted.divisor)
        except _FAULTS:
            raise self._fault("profile_number", name, value=_shown(found)) from None

    def _valid(self, name: str) -> bool:
        found = self._value(name)
        if not isinstance(found, bool):
            raise self._fault("profile_valid", name, value=_shown(found))
        return found

    def _messages(self, device_id: str, reads: list[_Read]) -> tuple[Message, ...]:
        """Return the messages of one device: what stands apart of one time is one reading."""
        rows: dict[int, tuple[int | None, int, dict[str, Value]]] = {}
        named = {channel for read in reads for channel in read.values}
        if not named:
            raise Refused("profile_nothing", profile=self._profile.profile_id, device=device_id)
        for read in reads:
            seq, boot, told = rows.setdefault(read.ts_ms, (read.seq, read.boot, {}))
            if (seq, boot) != (read.seq, read.boot) or told.keys() & read.values:
                raise Refused("repeated", field="ts", value=read.ts_ms)
            told.update(read.values)
        for seq, _, told in rows.values():
            if not told and seq is not None:
                told.update(dict.fromkeys(named))  # its number is used, else it would be missed
        messages = wire.told_apart(device_id, {ts: row for ts, row in rows.items() if row[2]})
        for message in messages:
            wire.check_times(message.ts_ms, self._now_ms)
        return messages

    def _value(self, name: str) -> Any:
        self._search.absent = False
        tree = self._trees[name]
        if isinstance(tree, tuple):
            return self._search.follow(tree, self._scope)
        try:
            return self._search.visit(tree, self._scope)
        except _FAULTS as error:
            raise self._fault("profile_fault", name, text=_reason(error)) from error

    def _fault(self, reason: str, name: str, **facts: object) -> Refused:
        expression = expressions(self._profile)[name]
        place = f"{name} {self._place}".strip()
        profile_id = self._profile.profile_id
        return Refused(reason, profile=profile_id, place=place, expression=expression, **facts)


def _number(value: Any) -> float:
    """Return a finite number, which vendors write as a text as well. TypeError, ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError
    if isinstance(value, str) and "_" in value:  # 1_0 is Python's way of writing 10
        raise ValueError
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _shown(value: Any) -> str:
    return msgspec.json.encode(value).decode()
