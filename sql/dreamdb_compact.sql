-- dreamdb_compact(ref)
--
-- Bring together what many appends have left in many small pieces; no row changes: `ref`, `version`, `stripes` (how many fewer
-- there are). Older versions keep what they had. It happens as in dreamdb_branch.
-- Example: FROM dreamdb_compact('hello');
CREATE OR REPLACE MACRO dreamdb_compact(ref) AS TABLE
  SELECT done.ref AS ref, done.version AS version, done.rows AS stripes
  FROM (SELECT unnest(CASE WHEN told.error IS NULL THEN [told] ELSE error(told.error) END) AS done
        FROM (SELECT __dreamdb_effect('compact', [ref || '']) AS told));
