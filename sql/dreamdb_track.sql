-- dreamdb_track(ref, field, as_of := NULL, t0 := NULL, t1 := NULL)
--
-- One field of a Ref: `_anchor`, `value`, and `object`, the address of the object that holds the value (a stripe, a
-- vector stripe, a pack of media; for rows that only Tracks hold, the Track). Rows without a value are left out.
--
-- Example: SELECT count(*), count(DISTINCT object) FROM dreamdb_track('hello', 'label');
CREATE OR REPLACE MACRO dreamdb_track(ref, field, as_of := NULL, t0 := NULL, t1 := NULL) AS TABLE
  FROM query(list_transform(
    [__dreamdb_plan('track', ref, to_json({field: field, as_of: as_of, t0: t0, t1: t1})::VARCHAR,
                    current_transaction_id(), getvariable('__dreamdb')::VARCHAR)],
    lambda p: CASE WHEN p[1] = '!' THEN error(p[2:]) ELSE p END)[1]);
