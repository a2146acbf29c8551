"""Given events, when a command, then events or a refusal: one line a rule, no database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from domain.shared.errors import DomainError
from domain.shared.events import Event

S = TypeVar("S")
P = ParamSpec("P")


@dataclass(frozen=True)
class Outcome:
    """What a command gave: new events, or the error it refused with."""

    events: Sequence[Event]
    error: DomainError | None

    def then(self, *expected: Event) -> None:
        """Assert exactly these new events."""
        assert self.error is None, self.error
        assert list(self.events) == list(expected)

    def refused(self, kind: type[DomainError], code: str) -> None:
        """Assert a refusal of this kind and code."""
        assert isinstance(self.error, kind), self.error or self.events
        assert self.error.code == code


@dataclass(frozen=True)
class Spec(Generic[S]):
    """The state after the given events, ready for one command."""

    evolve: Callable[[S, Any], S]
    state: S

    def given(self, *events: Event) -> Spec[S]:
        """Fold earlier events into the state."""
        state = self.state
        for event in events:
            state = self.evolve(state, event)
        return replace(self, state=state)

    def when(
        self,
        command: Callable[Concatenate[S, P], Sequence[Event]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Outcome:
        """Run a command function on the state."""
        try:
            return Outcome(command(self.state, *args, **kwargs), None)
        except DomainError as error:
            return Outcome([], error)


def spec(evolve: Callable[[S, Any], S], initial: S) -> Spec[S]:
    """Start a specification of one kind of stream."""
    return Spec(evolve, initial)
