"""The base of every event class, and the register of TOPICs.

A TOPIC is the permanent name under which an event is stored; the import path never is. A module's
`events.py` holds frozen dataclasses only, each with its own `TOPIC = "<stem>.<Name>"`.
"""

from __future__ import annotations

from typing import Any, ClassVar

_BY_TOPIC: dict[str, type[Event]] = {}


class Event:
    """A fact in the past tense. Subclasses are frozen dataclasses with an explicit TOPIC."""

    TOPIC: ClassVar[str]
    VERSION: ClassVar[int] = 1

    def __init_subclass__(cls) -> None:
        topic = cls.__dict__.get("TOPIC")
        if topic is None:
            raise TypeError(f"{cls.__name__} has no TOPIC of its own")
        # A slots dataclass is created twice under one name; any other second owner is a mistake.
        known = _BY_TOPIC.get(topic)
        if known is not None and known.__qualname__ != cls.__qualname__:
            raise TypeError(f"TOPIC {topic} belongs to {known.__qualname__} already")
        _BY_TOPIC[topic] = cls

    @classmethod
    def upcast(cls, version: int, data: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of an event stored as `version` in the shape of today's VERSION."""
        raise TypeError(f"{cls.TOPIC} version {version} has no upcaster")


def event_class(topic: str) -> type[Event]:
    """Return the event class stored under `topic`. KeyError when no module owns it."""
    return _BY_TOPIC[topic]


def topics() -> list[str]:
    """Return every TOPIC of the modules imported so far, sorted."""
    return sorted(_BY_TOPIC)
