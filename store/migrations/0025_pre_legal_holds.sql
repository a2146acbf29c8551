-- A legal hold on a lot is an event of the ledger; in its transaction the days that the lot's chain
-- needs are held here, so that no drop comes between. The application role can place and lift holds
-- of lots only, by these functions; those of the operator are the operator's.
ALTER TABLE reading_hold ADD COLUMN lot_id text, ADD COLUMN case_no text;

CREATE FUNCTION hold_lot_days(of_lot text, of_case text, first date, last date) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO reading_hold (first_day, last_day, reason, lot_id, case_no)
    VALUES (first, last, 'lot ' || of_lot || ', case ' || of_case, of_lot, of_case)
$$;
REVOKE ALL ON FUNCTION hold_lot_days(text, text, date, date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION hold_lot_days(text, text, date, date) TO vaxtrail_app;

CREATE FUNCTION lift_lot_days(of_lot text, of_case text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE reading_hold SET lifted_at = now()
    WHERE lot_id = of_lot AND case_no = of_case AND lifted_at IS NULL
$$;
REVOKE ALL ON FUNCTION lift_lot_days(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION lift_lot_days(text, text) TO vaxtrail_app;
