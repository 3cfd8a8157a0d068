-- dreamdb_history(ref, as_of := NULL)
--
-- Versions by first parents, newest first: `manifest`, `time`, `ts_ns`, `operation`, `parents`, `tracks`, `writer`.
--
-- Example: SELECT time, operation FROM dreamdb_history('hello') LIMIT 5;
CREATE OR REPLACE MACRO dreamdb_history(ref, as_of := NULL) AS TABLE
  FROM query(list_transform(
    [__dreamdb_plan('history', ref, to_json({as_of: as_of})::VARCHAR, current_transaction_id(),
                    getvariable('__dreamdb')::VARCHAR)],
    lambda p: CASE WHEN p[1] = '!' THEN error(p[2:]) ELSE p END)[1]);
