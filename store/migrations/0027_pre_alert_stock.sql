-- Up to which position of the ledger, as the read model of custody has followed it, it was looked
-- for goods that alerts affected. What was known before this table is not looked through: alerts of
-- long ago hold nothing today.
CREATE TABLE alert_stock_progress (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    position bigint NOT NULL
);
INSERT INTO alert_stock_progress (position)
SELECT coalesce(max(notification_id), 0) FROM ledger_events;

GRANT SELECT, UPDATE ON alert_stock_progress TO vaxtrail_app;
