-- dreamdb_track(ref, field, as_of := NULL, t0 := NULL, t1 := NULL)
--
-- One field of a Ref: `_anchor`, `value`, and `object`, the address of the object that holds the value (a stripe, a
-- vector stripe, a pack of media; for rows that only Tracks hold, the Track). Rows without a value are left out.
--
-- Example: SELECT count(*), count(DISTINCT object) FROM dreamdb_track('hello', 'label');
CREATE OR REPLACE MACRO dreamdb_track(ref, field, as_of := NULL, t0 := NULL, t1 := NULL) AS TABLE
  FROM query(__dreamdb_plan('track', ref, field, as_of::VARCHAR, t0::VARCHAR, t1::VARCHAR,
                            current_transaction_id(), getvariable('__dreamdb')::VARCHAR));
