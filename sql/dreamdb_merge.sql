-- dreamdb_merge(ref, branch, strategy := 'fast-forward')
--
-- Bring another ref's rows into this one: `ref`, `version` (the one that it names now). `fast-forward` only moves the ref, where it has
-- nothing of its own; `union-tracks` writes a version that has the rows of both. It happens as in dreamdb_branch.
--
-- Example: FROM dreamdb_merge('hello', 'night', strategy := 'union-tracks');
CREATE OR REPLACE MACRO dreamdb_merge(ref, branch, strategy := 'fast-forward') AS TABLE
  SELECT done.ref AS ref, done.version AS version
  FROM (SELECT unnest(CASE WHEN told.error IS NULL THEN [told] ELSE error(told.error) END) AS done
        FROM (SELECT __dreamdb_effect('merge', [ref || '', branch::VARCHAR, strategy::VARCHAR]) AS told));
