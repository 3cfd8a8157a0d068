-- dreamdb_knn(ref, field, query, k := 10, nprobe := NULL, rerank := NULL, t0 := NULL, t1 := NULL, filter := NULL, as_of := NULL)
--
-- The k rows nearest to a vector, nearest first: `_anchor`, `_distance` (cosine: 1 - cos; l2: squared distance).
-- `query` may be a literal, a parameter, a subquery, or a column of the table on its left: then it is a lateral join.
--
--   nprobe  how many cells to read; NULL compares every vector, and the answer is exact
--   rerank  accepted for fields with codes; raw vectors need none
--   t0, t1  only rows with t0 <= _anchor < t1
--   filter  a condition over the columns of dreamdb_scan, as text; applied before the search, so that k rows
--           come back whenever k rows satisfy it
--   as_of   as in dreamdb_scan
--
-- Example: FROM dreamdb_knn('hello', 'embedding', (SELECT vec FROM queries WHERE id = 7), k := 5);
-- Example: SELECT q.id, n.* FROM queries q, dreamdb_knn('hello', 'embedding', q.vec, k := 5) n;
CREATE OR REPLACE MACRO dreamdb_knn(ref, field, query, k := 10, nprobe := NULL, rerank := NULL,
                                    t0 := NULL, t1 := NULL, filter := NULL, as_of := NULL) AS TABLE
  SELECT unnest(CASE WHEN found.error IS NULL THEN found.hits ELSE error(found.error) END, recursive := true)
  FROM (SELECT __dreamdb_knn(ref, field, query::FLOAT[],
                             to_json({k: k, nprobe: nprobe, rerank: rerank, t0: t0, t1: t1, filter: filter,
                                      as_of: as_of})::VARCHAR,
                             current_transaction_id(), getvariable('__dreamdb')::VARCHAR) AS found);
