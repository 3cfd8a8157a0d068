-- dreamdb_search(ref, field, query, k := 10, nprobe := NULL, recall := NULL, pool := NULL, t0 := NULL, t1 := NULL, filter := NULL, anchors := NULL, as_of := NULL)
--
-- The rows of dreamdb_scan that are nearest to a vector, nearest first, with `_distance`. Arguments as dreamdb_knn has
-- them; `query` is a literal, a parameter or a subquery. Only the hits' rows are read, and of these only the columns that are
-- asked for.
--
-- Example: SELECT label, _distance FROM dreamdb_search('hello', 'embedding', [0.1, 0.7], k := 5, filter := 'n > 5');
CREATE OR REPLACE MACRO dreamdb_search(ref, field, query, k := 10, nprobe := NULL, recall := NULL, pool := NULL,
                                       t0 := NULL, t1 := NULL, filter := NULL, anchors := NULL, as_of := NULL) AS TABLE
  WITH __dreamdb_hits AS MATERIALIZED (
    FROM dreamdb_knn(ref, field, query, k := k, nprobe := nprobe, recall := recall, pool := pool, t0 := t0, t1 := t1,
                     filter := filter, anchors := anchors, as_of := as_of))
  FROM query(__dreamdb_plan('search', ref, NULL, as_of::VARCHAR, NULL, NULL, current_transaction_id(),
                            getvariable('__dreamdb')::VARCHAR));
