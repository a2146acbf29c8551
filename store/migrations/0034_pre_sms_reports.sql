-- Short messages of which the provider has not said yet whether a phone has them: few among many
-- deliveries, and asked for again and again.
CREATE INDEX delivery_unreported_idx ON delivery (sent_at)
    WHERE channel = 'sms' AND state = 'sent'
        AND NOT evidence ?| ARRAY['delivered_at', 'undelivered'];
