-- name: ddl
-- What has a name that others show: organisations, sites and cold units, each under its parent;
-- `changed`: the position at which any of it changed last.
CREATE TABLE node (
    kind text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    parent_id text NOT NULL,
    name text NOT NULL,
    name_en text NOT NULL,
    region_code text COLLATE "C" NOT NULL,
    latitude double precision,
    longitude double precision,
    PRIMARY KEY (id, kind)
);
CREATE TABLE changed (one bool PRIMARY KEY DEFAULT true, position int8 NOT NULL)

-- name: put_node
INSERT INTO node (kind, id, parent_id, name, name_en, region_code, latitude, longitude)
VALUES (%(kind)s, %(id)s, %(parent_id)s, %(name)s, %(name_en)s, %(region_code)s, %(latitude)s,
        %(longitude)s)

-- name: change_site
UPDATE node SET name = %(name)s, name_en = %(name_en)s, latitude = %(latitude)s,
                longitude = %(longitude)s
WHERE kind = 'site' AND id = %(site_id)s

-- name: note_change
INSERT INTO changed (position) VALUES (%s) ON CONFLICT (one) DO UPDATE SET position = excluded.position

-- name: names
SELECT id, name AS zh, name_en AS en, region_code AS region, latitude, longitude
FROM rm_shared_org_tree.node WHERE kind = %s AND id = ANY(%s)
