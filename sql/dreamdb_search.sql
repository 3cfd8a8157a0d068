-- dreamdb_search(ref, field, query, k := 10, nprobe := NULL, rerank := NULL, t0 := NULL, t1 := NULL, filter := NULL, as_of := NULL)
--
-- The rows of dreamdb_scan that are nearest to a vector, nearest first, with `_distance`. Arguments as dreamdb_knn has
-- them; `query` is a literal, a parameter or a subquery.
--
-- Example: SELECT label, _distance FROM dreamdb_search('hello', 'embedding', [0.1, 0.7], k := 5, filter := 'n > 5');
CREATE OR REPLACE MACRO dreamdb_search(ref, field, query, k := 10, nprobe := NULL, rerank := NULL,
                                       t0 := NULL, t1 := NULL, filter := NULL, as_of := NULL) AS TABLE
  SELECT rows.*, hits._distance
  FROM dreamdb_knn(ref, field, query, k := k, nprobe := nprobe, rerank := rerank, t0 := t0, t1 := t1,
                   filter := filter, as_of := as_of) AS hits
  JOIN dreamdb_scan(ref, as_of := as_of) AS rows USING (_anchor)
  ORDER BY hits._distance, rows._anchor;
