-- Conditions of equipment that are on now, written with the event that says so; and what devices
-- tell beside readings, of which there is little among very many events.
CREATE TABLE condition (
    kind text NOT NULL,
    subject_id text COLLATE "C" NOT NULL,
    subject_kind text NOT NULL,
    alert_id uuid NOT NULL,
    severity text NOT NULL,
    region_code text NOT NULL,
    silenced_by text NOT NULL,
    version bigint NOT NULL,
    PRIMARY KEY (kind, subject_id)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON condition TO vaxtrail_app;

CREATE INDEX telemetry_events_report_idx ON telemetry_events (notification_id)
WHERE topic = 'cold_chain.DeviceReported';
