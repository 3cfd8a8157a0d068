-- dreamdb_tombstones(ref, as_of := NULL)
--
-- The deleted anchors of a Ref: `_anchor`, `deleted_at`, `reason`.
--
-- Example: SELECT reason, count(*) FROM dreamdb_tombstones('hello') GROUP BY reason;
CREATE OR REPLACE MACRO dreamdb_tombstones(ref, as_of := NULL) AS TABLE
  FROM query(__dreamdb_plan('tombstones', ref, NULL, as_of::VARCHAR, NULL, NULL,
                            current_transaction_id(), getvariable('__dreamdb')::VARCHAR));
