-- dreamdb_refs()
--
-- The Refs of the Space: `ref`, `manifest`, `is_snapshot`, and of a damaged one its `error`.
--
-- Example: SELECT ref FROM dreamdb_refs() WHERE NOT is_snapshot;
CREATE OR REPLACE MACRO dreamdb_refs() AS TABLE
  FROM query(list_transform(
    [__dreamdb_plan('refs', NULL, to_json({as_of: NULL})::VARCHAR, current_transaction_id(),
                    getvariable('__dreamdb')::VARCHAR)],
    lambda p: CASE WHEN p[1] = '!' THEN error(p[2:]) ELSE p END)[1]);
