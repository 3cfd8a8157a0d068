-- dreamdb_flush(ref)
--
-- Bring the Tracks, which other SDKs read, up to date with the rows: `ref`, `version`, `stripes` (how many that took). It happens
-- as in dreamdb_branch.
-- Example: FROM dreamdb_flush('hello');
CREATE OR REPLACE MACRO dreamdb_flush(ref) AS TABLE
  SELECT done.ref AS ref, done.version AS version, done.rows AS stripes
  FROM (SELECT unnest(CASE WHEN told.error IS NULL THEN [told] ELSE error(told.error) END) AS done
        FROM (SELECT __dreamdb_effect('flush', [ref || '']) AS told));
