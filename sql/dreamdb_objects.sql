-- dreamdb_objects(ref, as_of := NULL)
--
-- The objects that a scan of a Ref reads: `kind` (stripe, vectors), `field`, `t0`, `t1`, `address`, `path` (empty for projections in the local cache).
--
-- Example: SELECT kind, count(*) FROM dreamdb_objects('hello') GROUP BY kind;
CREATE OR REPLACE MACRO dreamdb_objects(ref, as_of := NULL) AS TABLE
  FROM query(__dreamdb_plan('objects', ref, NULL, as_of::VARCHAR, NULL, NULL,
                            current_transaction_id(), getvariable('__dreamdb')::VARCHAR));
