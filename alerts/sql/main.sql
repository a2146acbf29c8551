-- name: plan_once
-- The few statements of the senders are always the same, and most of their time was planning.
SET plan_cache_mode = force_generic_plan

-- name: listen
LISTEN outbox
