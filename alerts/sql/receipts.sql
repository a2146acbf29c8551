-- name: unreported
-- Short messages that a provider accepted and of which it has not said what became of them, with
-- who of the recipients is asked about; the newest first.
SELECT d.id AS delivery_id, r.address, d.evidence ->> 'accepted_id' AS accepted_id, d.sent_at
FROM delivery d JOIN recipient r ON r.recipient_id = d.recipient_id AND r.active
WHERE d.channel = 'sms' AND d.state = 'sent' AND d.sent_at > %(since)s
    AND NOT d.evidence ?| ARRAY['delivered_at', 'undelivered']
ORDER BY d.sent_at DESC LIMIT %(limit)s

-- name: report
UPDATE delivery SET evidence = evidence || %s WHERE id = %s
