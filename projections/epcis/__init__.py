"""What the EPCIS repository holds: capture jobs, events, named queries."""

from __future__ import annotations

from domain.epcis.events import CaptureEnded, QueryDefined, QueryRemoved
from domain.traceability.events import CaptureStored
from projections.epcis.follow import apply, queries
from projections.epcis.jobs import Job, jobs
from projections.epcis.named import NamedQuery, named_queries, named_query
from projections.projection import Projection

__all__ = ["PROJECTION", "Job", "NamedQuery", "jobs", "named_queries", "named_query"]

PROJECTION = Projection(
    name="epcis",
    version=1,
    topics=(CaptureStored.TOPIC, CaptureEnded.TOPIC, QueryDefined.TOPIC, QueryRemoved.TOPIC),
    apply=apply,
    ddl=queries.ddl,
)
