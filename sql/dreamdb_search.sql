-- dreamdb_search(ref, field, query, k := 10, nprobe := NULL, recall := NULL, pool := NULL, t0 := NULL, t1 := NULL, filter := NULL, anchors := NULL, as_of := NULL)
--
-- The rows of dreamdb_scan that are nearest to a vector, nearest first, with `_distance`. Arguments as dreamdb_knn has
-- them; `query` and `anchors` may be subqueries, the others are literals or parameters. Only the hits' rows are read.
--
-- Example: SELECT label, _distance FROM dreamdb_search('hello', 'embedding', [0.1, 0.7], k := 5, filter := 'n > 5');
CREATE OR REPLACE MACRO dreamdb_search(ref, field, query, k := 10, nprobe := NULL, recall := NULL, pool := NULL,
                                       t0 := NULL, t1 := NULL, filter := NULL, anchors := NULL, as_of := NULL) AS TABLE
  WITH __dreamdb_asked AS (SELECT query::FLOAT[] AS __query, anchors::BIGINT[] AS __anchors)
  FROM query(__dreamdb_plan('search', ref, json_array(field, k, nprobe, recall, pool, filter)::VARCHAR, as_of::VARCHAR,
                            t0::VARCHAR, t1::VARCHAR, current_transaction_id(), getvariable('__dreamdb')::VARCHAR));
