-- dreamdb_snapshot(ref, label, as_of := NULL)
--
-- Name a version for good: `ref` (the snapshot, `<ref>@<label>`), `version`. It happens as in dreamdb_branch.
--
-- Example: FROM dreamdb_snapshot('hello', 'reviewed');
CREATE OR REPLACE MACRO dreamdb_snapshot(ref, label, as_of := NULL) AS TABLE
  SELECT done.ref AS ref, done.version AS version
  FROM (SELECT unnest(CASE WHEN told.error IS NULL THEN [told] ELSE error(told.error) END) AS done
        FROM (SELECT __dreamdb_effect('snapshot', [ref || '', label::VARCHAR, as_of::VARCHAR]) AS told));
