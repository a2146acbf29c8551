-- name: ddl
CREATE TABLE organisation (
    org_code text COLLATE "C" PRIMARY KEY,
    name text NOT NULL,
    name_en text NOT NULL,
    region_code text COLLATE "C" NOT NULL,
    version bigint NOT NULL
);
CREATE TABLE site (
    site_id text COLLATE "C" PRIMARY KEY,
    org_code text NOT NULL,
    site_no integer NOT NULL,
    name text NOT NULL,
    name_en text NOT NULL,
    kind text NOT NULL,
    region_code text COLLATE "C" NOT NULL,
    latitude double precision,
    longitude double precision,
    version bigint NOT NULL
);
CREATE INDEX ON site (region_code, site_id)

-- name: put_organisation
INSERT INTO organisation (org_code, name, name_en, region_code, version)
VALUES (%(org_code)s, %(name)s, %(name_en)s, %(region_code)s, %(version)s)

-- name: put_site
INSERT INTO site (site_id, org_code, site_no, name, name_en, kind, region_code, latitude,
                  longitude, version)
VALUES (%(site_id)s, %(org_code)s, %(site_no)s, %(name)s, %(name_en)s, %(kind)s, %(region_code)s,
        %(latitude)s, %(longitude)s, %(version)s)

-- name: change_site
UPDATE site SET name = %(name)s, name_en = %(name_en)s, kind = %(kind)s, latitude = %(latitude)s,
                longitude = %(longitude)s, version = %(version)s
WHERE site_id = %(site_id)s

-- name: organisations
-- A page of the organisations of a region, by code.
SELECT org_code, name, name_en, region_code, version FROM rm_registry.organisation
WHERE region_code LIKE %(region)s || '%%' AND org_code > %(after)s
ORDER BY org_code LIMIT %(limit)s

-- name: sites
-- A page of the sites of a region, by id.
SELECT site_id, org_code, site_no, name, name_en, kind, region_code, latitude, longitude, version
FROM rm_registry.site
WHERE region_code LIKE %(region)s || '%%' AND site_id > %(after)s
ORDER BY site_id LIMIT %(limit)s
