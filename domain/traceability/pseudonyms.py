"""People in facts: only ever a pseudonym, since what is recorded is kept for ever."""

from domain.shared.pseudonyms import (
    PSEUDONYM_PATTERN,
    checked_note,
    checked_pseudonym,
    names_person,
)

__all__ = ["PSEUDONYM_PATTERN", "checked_note", "checked_pseudonym", "names_person"]
