-- name: is_released
SELECT EXISTS (SELECT FROM epcis_released_token WHERE digest = sha256(%s::text::bytea))

-- name: release
INSERT INTO epcis_released_token (digest, expires_at) VALUES (sha256(%s::text::bytea), %s)
ON CONFLICT DO NOTHING

-- name: forget_expired
DELETE FROM epcis_released_token WHERE expires_at < %s
