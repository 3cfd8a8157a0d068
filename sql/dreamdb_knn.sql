-- dreamdb_knn(ref, field, query, k := 10, nprobe := NULL, recall := NULL, pool := NULL, t0 := NULL, t1 := NULL, filter := NULL, anchors := NULL, as_of := NULL)
--
-- The k rows nearest to a vector, nearest first: `_anchor`, `_distance` (cosine: 1 - cos; l2: squared distance).
-- `query` may be a literal, a parameter, a subquery, or a column of the table on its left: then it is a lateral join, and all its
-- queries are answered together.
--
--   nprobe   how many cells to read; NULL, without `recall`, compares every vector, and the answer is exact
--   recall   instead, the share of the nearest rows to find, such as 0.95: those cells are read that the Space's own vectors
--            needed for it, which is measured once
--   pool     of a field with codes, how many rows are chosen by these and then compared by their exact vectors
--   t0, t1   only rows with t0 <= _anchor < t1
--   filter   a condition over the columns of dreamdb_scan, as text; applied before the search, so that k rows
--            come back whenever k rows satisfy it
--   anchors  only the rows of this list, which a subquery may make: `(SELECT list(_anchor) FROM ...)`
--   as_of    as in dreamdb_scan
--
-- Example: FROM dreamdb_knn('hello', 'embedding', (SELECT vec FROM queries WHERE id = 7), k := 5);
-- Example: SELECT q.id, n.* FROM queries q, dreamdb_knn('hello', 'embedding', q.vec, k := 5, recall := 0.95) n;
CREATE OR REPLACE MACRO dreamdb_knn(ref, field, query, k := 10, nprobe := NULL, recall := NULL, pool := NULL,
                                    t0 := NULL, t1 := NULL, filter := NULL, anchors := NULL, as_of := NULL) AS TABLE
  SELECT unnest(CASE WHEN found.error IS NULL THEN found.hits ELSE error(found.error) END, recursive := true)
  -- DuckDB binds a macro when it is made, as far as it can. `ref || ''` it cannot: that saves each connect 3 ms.
  FROM (SELECT __dreamdb_knn(ref || '', field, query::FLOAT[],
                             to_json({k: k, nprobe: nprobe, recall: recall, pool: pool, t0: t0, t1: t1, filter: filter,
                                      anchors: anchors::BIGINT[], as_of: as_of})::VARCHAR,
                             current_transaction_id(), getvariable('__dreamdb')::VARCHAR) AS found);
