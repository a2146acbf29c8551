"""What all GS1 keys have in common."""

from __future__ import annotations


def gtin_check_digit(digits: str) -> str:
    """Return the GS1 mod-10 check digit for the digits before it (weights 3, 1 from the right)."""
    total = sum(int(d) * (3 if i % 2 == 0 else 1) for i, d in enumerate(reversed(digits)))
    return str(-total % 10)
