-- Whether somebody is to be told what concerns a region, a site and a severity (of `severities`, the
-- slightest first), as far as that does not depend on who they are. Inlined where it is asked.
CREATE FUNCTION covers(who recipient, region text, site text, severity text, severities text[])
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT who.active
        AND starts_with(region, CASE
            WHEN who.region_code = '000000' THEN ''
            WHEN who.region_code LIKE '%0000' THEN left(who.region_code, 2)
            WHEN who.region_code LIKE '%00' THEN left(who.region_code, 4)
            ELSE who.region_code END)
        AND who.site_id IN ('', site)
        AND array_position(severities, who.severity_min) <= array_position(severities, severity)
$$;
REVOKE ALL ON FUNCTION covers(recipient, text, text, text, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION covers(recipient, text, text, text, text[]) TO vaxtrail_app;
