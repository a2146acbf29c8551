-- name: ddl
-- What has a name that others show: organisations, sites and cold units, each under its parent.
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
)

-- name: put_node
INSERT INTO node (kind, id, parent_id, name, name_en, region_code, latitude, longitude)
VALUES (%(kind)s, %(id)s, %(parent_id)s, %(name)s, %(name_en)s, %(region_code)s, %(latitude)s,
        %(longitude)s)

-- name: change_site
UPDATE node SET name = %(name)s, name_en = %(name_en)s, latitude = %(latitude)s,
                longitude = %(longitude)s
WHERE kind = 'site' AND id = %(site_id)s

-- name: names
SELECT id, name AS zh, name_en AS en, region_code AS region, latitude, longitude
FROM rm_shared_org_tree.node WHERE kind = %s AND id = ANY(%s)
