-- dreamdb_stats()
--
-- What the Space's bucket was asked for since the connection was made, in one row: the requests `get`, `put`, `head`, `list`
-- and `delete`; `hedge`, the reads made a second time because the first was late; `hit`, the objects that the cache had;
-- `bytes_received`, `bytes_sent`; and `hit_rate`, hits by hits and reads. Of a Space in files all counts are 0.
--
-- Example: SELECT get, bytes_received, hit_rate FROM dreamdb_stats();
CREATE OR REPLACE MACRO dreamdb_stats() AS TABLE
  FROM query(__dreamdb_plan('stats', NULL, NULL, NULL, NULL, NULL,
                            current_transaction_id(), getvariable('__dreamdb')::VARCHAR));
