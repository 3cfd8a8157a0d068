-- dreamdb_take(ref, anchors, as_of := NULL)
--
-- The rows of a list of anchors, in its order, with the columns of dreamdb_scan; an anchor without a live row is left out,
-- one that is listed twice gives its row twice. For many anchors it is faster than `WHERE _anchor IN (...)`, which decodes every
-- row group that may hold one of them: here rows are looked up in row groups that were decoded before. For one anchor,
-- `t0` and `t1` of dreamdb_scan are as good.
-- `anchors` may be a list, text such as '[1, 2]', or a parameter, which DuckDB parses faster than a long literal; no subquery.
--
--   as_of   as in dreamdb_scan
--
-- Example: SELECT _anchor, label FROM dreamdb_take('hello', [1700000000000000000, 1700000000000000001]);
CREATE OR REPLACE MACRO dreamdb_take(ref, anchors, as_of := NULL) AS TABLE
  FROM query(__dreamdb_plan('take', ref, to_json(anchors::BIGINT[])::VARCHAR, as_of::VARCHAR, NULL, NULL,
                            current_transaction_id(), getvariable('__dreamdb')::VARCHAR));
