-- dreamdb_federation_search(field, query, k := 10, nprobe := NULL, recall := NULL, pool := NULL, t0 := NULL, t1 := NULL, filter := NULL, as_of := NULL)
--
-- The k rows of all members that are nearest to a vector, nearest first: `_source`, the columns of dreamdb_scan, and
-- `_distance`. Each member is asked for its own k nearest, so the answer is as exact as theirs; of equal distances the member
-- and then the anchor decide. Members without the field are left out.
--
-- Example: SELECT _source, _anchor, _distance FROM dreamdb_federation_search('embedding', [0.1, 0.7], k := 5);
CREATE OR REPLACE MACRO dreamdb_federation_search(field, query, k := 10, nprobe := NULL, recall := NULL, pool := NULL,
                                                  t0 := NULL, t1 := NULL, filter := NULL, as_of := NULL) AS TABLE
  WITH __dreamdb_asked AS (SELECT query::FLOAT[] AS __query, NULL::BIGINT[] AS __anchors)
  SELECT * FROM query(__dreamdb_federation('search', json_array(field, k, nprobe, recall, pool, filter)::VARCHAR,
                                           as_of::VARCHAR, t0::VARCHAR, t1::VARCHAR, current_transaction_id(),
                                           getvariable('__dreamdb')::VARCHAR))
  ORDER BY _distance, _source, _anchor LIMIT k;
