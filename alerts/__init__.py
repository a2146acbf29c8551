"""Facts to people: escalation, the outbox, and the channels that carry it."""
