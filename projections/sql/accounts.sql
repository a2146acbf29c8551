-- name: ddl
CREATE TABLE api_key (
    key_id text COLLATE "C" PRIMARY KEY,
    digest text NOT NULL,
    role text NOT NULL,
    region_code text COLLATE "C" NOT NULL,
    label text NOT NULL,
    revoked boolean NOT NULL,
    version bigint NOT NULL
)

-- name: put_key
INSERT INTO api_key (key_id, digest, role, region_code, label, revoked, version)
VALUES (%(key_id)s, %(digest)s, %(role)s, %(region_code)s, %(label)s, false, %(version)s)

-- name: revoke_key
UPDATE api_key SET revoked = true, version = %(version)s WHERE key_id = %(key_id)s

-- name: keys
-- All that open something, for the table in memory.
SELECT key_id, digest, role, region_code, label, revoked, version FROM rm_accounts.api_key
WHERE NOT revoked ORDER BY key_id

-- name: key_list
-- A page of the keys of a region, by id.
SELECT key_id, digest, role, region_code, label, revoked, version FROM rm_accounts.api_key
WHERE region_code LIKE %(region)s || '%%' AND key_id > %(after)s
ORDER BY key_id LIMIT %(limit)s

-- name: key
SELECT key_id, digest, role, region_code, label, revoked, version FROM rm_accounts.api_key
WHERE key_id = %s
