"""Rules as requests write them: for those that are published, and for those that are tried."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from api.recipients import Severity
from api.schemas import Body, Name
from domain.alerting import rules

Side = Literal["high", "low"]
Celsius = Annotated[float, Field(ge=rules.LIMIT_C_MIN, le=rules.LIMIT_C_MAX)]
Minutes = Annotated[float, Field(ge=0, le=rules.DURATION_MIN_MAX)]


class RuleIn(Body):
    """One threshold: bad beyond the limit, alert after `raise_after_min` of it."""

    rule_id: Annotated[Name, Field(examples=["high_8_30min"])]
    side: Side
    limit_c: Annotated[Celsius, Field(examples=[8.0])]
    hysteresis_c: Annotated[float, Field(ge=0, le=rules.LIMIT_C_MAX - rules.LIMIT_C_MIN)] = 0.5
    raise_after_min: Annotated[Minutes, Field(examples=[30])]
    clear_after_min: Annotated[Minutes, Field(gt=0)] = 10.0
    max_gap_min: Annotated[Minutes, Field(gt=0)] = 15.0
    severity: Severity
