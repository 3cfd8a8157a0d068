-- dreamdb_history(ref, as_of := NULL)
--
-- Versions by first parents, newest first: `manifest`, `time`, `ts_ns`, `operation`, `parents`, `tracks`, `writer`.
--
-- Example: SELECT time, operation FROM dreamdb_history('hello') LIMIT 5;
CREATE OR REPLACE MACRO dreamdb_history(ref, as_of := NULL) AS TABLE
  FROM query(__dreamdb_plan('history', ref, NULL, as_of::VARCHAR, NULL, NULL,
                            current_transaction_id(), getvariable('__dreamdb')::VARCHAR));
