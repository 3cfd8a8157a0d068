-- dreamdb_explain_search(ref, field, query, k := 10, nprobe := NULL, recall := NULL, pool := NULL, t0 := NULL, t1 := NULL, filter := NULL, anchors := NULL, as_of := NULL)
--
-- What a search with these arguments, which are those of dreamdb_knn, does: it is run, and one row tells of it.
--
--   strategy      how it went about it: exact, cells, or exact over the rows that the condition leaves
--   nprobe        how many cells a query was allowed; with a condition as many as it took to find k rows
--   cells         how many cells the index named
--   segments      in how many pieces the cells lie in the local cache
--   rows_scored   how many rows were compared
--   milliseconds  the time it took, the condition included when it was not remembered
--
-- Example: FROM dreamdb_explain_search('hello', 'embedding', [0.1, 0.7], recall := 0.95);
CREATE OR REPLACE MACRO dreamdb_explain_search(ref, field, query, k := 10, nprobe := NULL, recall := NULL, pool := NULL,
                                               t0 := NULL, t1 := NULL, filter := NULL, anchors := NULL,
                                               as_of := NULL) AS TABLE
  SELECT unnest(CASE WHEN found.error IS NULL THEN found.report ELSE error(found.error) END)
  FROM (SELECT __dreamdb_knn(ref || '', field, query::FLOAT[],
                             to_json({k: k, nprobe: nprobe, recall: recall, pool: pool, t0: t0, t1: t1, filter: filter,
                                      anchors: anchors::BIGINT[], as_of: as_of})::VARCHAR,
                             current_transaction_id(), getvariable('__dreamdb')::VARCHAR) AS found);
