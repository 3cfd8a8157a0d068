-- dreamdb_refs()
--
-- The Refs of the Space: `ref`, `manifest`, `is_snapshot`, and of a damaged one its `error`.
--
-- Example: SELECT ref FROM dreamdb_refs() WHERE NOT is_snapshot;
CREATE OR REPLACE MACRO dreamdb_refs() AS TABLE
  FROM query(__dreamdb_plan('refs', NULL, NULL, NULL, NULL, NULL,
                            current_transaction_id(), getvariable('__dreamdb')::VARCHAR));
