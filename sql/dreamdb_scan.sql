-- dreamdb_scan(ref, as_of := NULL, t0 := NULL, t1 := NULL)
--
-- The rows of a Ref: `_anchor` (BIGINT, nanoseconds since 1970, the primary key), `_time` (the same as TIMESTAMP_NS),
-- and one column a field. Embeddings and media are fetched only for rows whose column is looked at.
--
--   as_of   a snapshot label, `ref@label`, a Manifest address, or a time; NULL for the tip
--   t0, t1  rows with t0 <= _anchor < t1, as nanoseconds or timestamps; stripes outside are not opened
--
-- Example: SELECT label, avg(n) FROM dreamdb_scan('hello') WHERE _time >= '2026-01-01' GROUP BY label;
CREATE OR REPLACE MACRO dreamdb_scan(ref, as_of := NULL, t0 := NULL, t1 := NULL) AS TABLE
  FROM query(__dreamdb_plan('scan', ref, NULL, as_of::VARCHAR, t0::VARCHAR, t1::VARCHAR,
                            current_transaction_id(), getvariable('__dreamdb')::VARCHAR));
