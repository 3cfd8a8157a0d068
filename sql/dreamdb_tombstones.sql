-- dreamdb_tombstones(ref, as_of := NULL)
--
-- The deleted anchors of a Ref: `_anchor`, `deleted_at`, `reason`.
--
-- Example: SELECT reason, count(*) FROM dreamdb_tombstones('hello') GROUP BY reason;
CREATE OR REPLACE MACRO dreamdb_tombstones(ref, as_of := NULL) AS TABLE
  FROM query(list_transform(
    [__dreamdb_plan('tombstones', ref, to_json({as_of: as_of})::VARCHAR, current_transaction_id(),
                    getvariable('__dreamdb')::VARCHAR)],
    lambda p: CASE WHEN p[1] = '!' THEN error(p[2:]) ELSE p END)[1]);
