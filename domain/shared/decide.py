"""Folding a stream into a state and deciding on it: the one place where both are joined."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Concatenate, ParamSpec, TypeVar, cast

from domain.shared.errors import Conflict
from domain.shared.events import Event

State = TypeVar("State")
E = TypeVar("E", bound=Event)
P = ParamSpec("P")


def fold(evolve: Callable[[State, E], State], initial: State, events: Iterable[Event]) -> State:
    """Return the state after `events`, oldest first, of one stream.

    A stream holds events of its own kind only; `evolve` ends in assert_never for any other.
    """
    state = initial
    for event in events:
        state = evolve(state, cast("E", event))
    return state


def decide(
    evolve: Callable[[State, E], State],
    initial: State,
    command: Callable[Concatenate[State, P], Sequence[Event]],
    *args: P.args,
    **kwargs: P.kwargs,
) -> Callable[[Sequence[Event]], list[Event]]:
    """Return the function from a stream's events to the new ones that `command` decides."""

    def deciding(events: Sequence[Event]) -> list[Event]:
        return list(command(fold(evolve, initial, events), *args, **kwargs))

    return deciding


def register(state: E | None, wanted: E) -> list[Event]:
    """Register once: the same particulars again are a no-op, so that an import can be repeated.

    Conflict("already_registered") names the fields that differ.
    """
    if state is None:
        return [wanted]
    if state == wanted:
        return []
    names = type(wanted).__annotations__
    differing = [name for name in names if getattr(state, name, None) != getattr(wanted, name)]
    raise Conflict("already_registered", differs=differing)
