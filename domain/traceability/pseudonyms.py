"""People in facts: only ever a pseudonym, since what is recorded is kept for ever."""

from domain.shared.pseudonyms import PSEUDONYM_PATTERN, checked_pseudonym

__all__ = ["PSEUDONYM_PATTERN", "checked_pseudonym"]
