-- dreamdb_revert(ref, version)
--
-- Make a new version that is as an old one was: schema, rows and deletions: `ref`, `version` (the new one). The versions since
-- stay in the history. `version` is a snapshot's label, an address, or a time, as `as_of` is elsewhere. It happens as in dreamdb_branch.
--
-- Example: FROM dreamdb_revert('hello', 'first');
CREATE OR REPLACE MACRO dreamdb_revert(ref, version) AS TABLE
  SELECT done.ref AS ref, done.version AS version
  FROM (SELECT unnest(CASE WHEN told.error IS NULL THEN [told] ELSE error(told.error) END) AS done
        FROM (SELECT __dreamdb_effect('revert', [ref || '', version::VARCHAR]) AS told));
