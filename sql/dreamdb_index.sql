-- dreamdb_index(ref, field, k := NULL, seed := 0)
--
-- Train the cells of an `ivf-cosine` or `imi-cosine` field from its vectors, and file every flushed row anew: `ref`, `version`,
-- `cells` (how many there are). Searches by `nprobe` or `recall` read these. It happens as in dreamdb_branch.
--
--   k     how many cells; NULL for twice the square root of the number of rows
--   seed  of the sample and the training
-- Example: FROM dreamdb_index('papers', 'embedding', k := 4);
CREATE OR REPLACE MACRO dreamdb_index(ref, field, k := NULL, seed := 0) AS TABLE
  SELECT done.ref AS ref, done.version AS version, done.rows AS cells
  FROM (SELECT unnest(CASE WHEN told.error IS NULL THEN [told] ELSE error(told.error) END) AS done
        FROM (SELECT __dreamdb_effect('index', [ref || '', field::VARCHAR, k::BIGINT::VARCHAR, seed::BIGINT::VARCHAR]) AS told));
