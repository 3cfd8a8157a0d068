-- dreamdb_branch(ref, name, as_of := NULL)
--
-- Make a new ref at the version of another one: `ref` (the new one), `version`. Writes to it leave the other alone.
-- It happens once, when the statement runs, and at once: a ROLLBACK does not take it back. A relation of Python (`con.sql`) runs
-- each time that it is read; `con.execute` runs once.
--
-- Example: FROM dreamdb_branch('hello', 'night');
-- Example: FROM dreamdb_branch('hello', 'as-it-was', as_of := 'first');
CREATE OR REPLACE MACRO dreamdb_branch(ref, name, as_of := NULL) AS TABLE
  SELECT done.ref AS ref, done.version AS version
  FROM (SELECT unnest(CASE WHEN told.error IS NULL THEN [told] ELSE error(told.error) END) AS done
        FROM (SELECT __dreamdb_effect('branch', [ref || '', name::VARCHAR, as_of::VARCHAR]) AS told));
