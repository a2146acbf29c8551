"""The whole error tree of the domain; `api/errors.py` is the only place that maps it to HTTP.

A `code` is permanent: the bilingual message catalogue, clients and tests key on it. `facts` are
the values the message names (never personal data).
"""

from __future__ import annotations


class DomainError(Exception):
    """A request that the domain refuses, named by what is wrong."""

    def __init__(self, code: str, /, **facts: object) -> None:
        super().__init__(code, facts)
        self.code = code
        self.facts = facts

    def __str__(self) -> str:
        listed = ", ".join(f"{name}={value!r}" for name, value in self.facts.items())
        return f"{self.code}({listed})"


class Invalid(DomainError):
    """A value is not acceptable (422); `field` in facts names it."""


class NotFound(DomainError):
    """The thing does not exist, or not for this caller (404)."""


class Conflict(DomainError):
    """An invariant forbids it in the present state (409)."""


class StaleVersion(DomainError):
    """The caller decided on an older version of the stream (412)."""


class NotAllowed(DomainError):
    """The caller's role or region does not permit it (403)."""


class Gone(DomainError):
    """It was erased (410)."""


class Busy(DomainError):
    """Contended beyond the retries (503)."""
