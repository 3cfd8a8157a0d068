-- dreamdb_index_status(ref, field, as_of := NULL)
--
-- How the index of an embedding field is, in one row; of each that can be read when `field` is NULL.
--
--   field, algorithm, metric, dim
--   cells        how many there are; of hashes those that hold rows
--   filled       how many hold rows
--   rows         how many the cells hold, `mean` and `largest` of a cell; `skew` is largest by mean
--   buckets      Objects of the cells, `bytes` of them, `code_bytes` of these for codes
--   unflushed    rows that no flush has brought into cells
--   nprobe       how many cells the searches read that tell `recall`, the share of the 10 nearest that `sampled` rows find
--
-- NULL where it cannot be told. The searches compare every vector once: for millions of rows that takes a second.
--
-- Example: SELECT cells, skew, recall FROM dreamdb_index_status('hello', 'embedding');
CREATE OR REPLACE MACRO dreamdb_index_status(ref, field, as_of := NULL) AS TABLE
  FROM query(__dreamdb_plan('index_status', ref, field, as_of::VARCHAR, NULL, NULL,
                            current_transaction_id(), getvariable('__dreamdb')::VARCHAR));
