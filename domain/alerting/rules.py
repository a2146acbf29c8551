"""Threshold rules as dated values, with the shipped defaults and their sources.

Durations are minutes of device event time, temperatures degrees Celsius. Numbers: cold-chain rules
of the field (GSP appendix on automatic monitoring; WHO PQS E006 logger defaults).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdRule:
    """One threshold with dwell, hysteresis and gap. Every comparison is strict as written here.

    high: bad when v > limit_c, good when v <= limit_c - hysteresis_c; low mirrored.
    """

    rule_id: str
    side: str  # high | low
    limit_c: float
    hysteresis_c: float = 0.5
    raise_after_min: float
    clear_after_min: float = 10.0
    max_gap_min: float = 15.0
    severity: str  # info | minor | major | critical
