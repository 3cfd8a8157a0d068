-- dreamdb_stats()
--
-- What the bucket of a Space was asked for through this connection: `name` and `value`. Names are `get`, `put`, `head`, `list`,
-- `delete` (requests), `bytes_received`, `bytes_sent`, and `hit`: how often the local cache had an Object. A Space in files or in
-- memory has no rows here.
--
-- Example: SELECT name, value FROM dreamdb_stats() ORDER BY name;
CREATE OR REPLACE MACRO dreamdb_stats() AS TABLE
  FROM query(__dreamdb_plan('stats', NULL, NULL, NULL, NULL, NULL,
                            current_transaction_id(), getvariable('__dreamdb')::VARCHAR));
