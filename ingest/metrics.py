"""What ingest counts, in Prometheus form."""

from __future__ import annotations

from datetime import datetime

from prometheus_client import Counter, Gauge, Histogram

from ingest.batch import Batch
from ingest.scans import Scan
from ingest.sheet import Sheet
from ingest.wire import Message

READINGS_STORED = Counter("vaxtrail_readings_stored_total", "Readings stored")
READINGS_REPEATED = Counter("vaxtrail_readings_duplicate_total", "Readings stored already")
READINGS_CONFLICTING = Counter(
    "vaxtrail_readings_conflict_total", "Readings whose identity has another value"
)
SCANS_STORED = Counter("vaxtrail_scans_stored_total", "Scans stored")
SCANS_REPEATED = Counter("vaxtrail_scans_duplicate_total", "Scans stored already")
QUARANTINED = Counter("vaxtrail_quarantined_total", "Messages refused", ["code"])
ALERT_CHANGES = Counter("vaxtrail_alert_changes_total", "Alert events written")
BATCH_MESSAGES = Histogram(
    "vaxtrail_ingest_batch_messages",
    "Messages of a transaction",
    buckets=(1, 4, 16, 64, 128, 256, 512, 1024),
)
COMMIT_SECONDS = Histogram(
    "vaxtrail_ingest_commit_seconds",
    "From the first row of a batch to its commit",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
)
RETRIES = Counter("vaxtrail_ingest_retries_total", "Batches tried again after a lost database")
QUEUE_LENGTH = Gauge("vaxtrail_ingest_queue_messages", "Messages received and not yet committed")
LAST_COMMIT = Gauge("vaxtrail_ingest_last_commit_timestamp_seconds", "Time of the last commit")


def committed(content: Batch | Sheet, now: datetime, seconds: float) -> None:
    """Count a transaction of `now` whose commit took `seconds`."""
    if isinstance(content, Sheet):
        READINGS_STORED.inc(content.rows)
        BATCH_MESSAGES.observe(len(content.mids))
    else:
        _count(content)
        BATCH_MESSAGES.observe(len(content.items))
    COMMIT_SECONDS.observe(seconds)
    LAST_COMMIT.set(now.timestamp())


def _count(batch: Batch) -> None:
    for item in batch.items:
        if item.refused is not None:
            QUARANTINED.labels(item.refused.code).inc()
        elif isinstance(item.content, Message | tuple):
            READINGS_STORED.inc(item.new)
            READINGS_REPEATED.inc(item.repeated)
            READINGS_CONFLICTING.inc(item.conflicting)
        elif isinstance(item.content, Scan):
            SCANS_STORED.inc(item.new)
            SCANS_REPEATED.inc(item.repeated)
    ALERT_CHANGES.inc(len(batch.notices))
