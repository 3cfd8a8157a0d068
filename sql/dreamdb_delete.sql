-- dreamdb_delete(ref, filter := NULL, anchors := NULL, t0 := NULL, t1 := NULL, reason := NULL)
--
-- Hide rows from all later reads of a Ref: `ref`, `version`, `rows` (how many were there). Older versions still show them. It
-- happens as in dreamdb_branch.
--
--   filter   a condition over the columns of dreamdb_scan, as text: the rows that satisfy it
--   t0, t1   the rows with t0 <= _anchor < t1; with a filter, those that satisfy both
--   anchors  instead, the rows of this list, which a subquery may make: `(SELECT list(_anchor) FROM ...)`
--   reason   is kept with each
--
-- Example: FROM dreamdb_delete('hello', filter := 'label = ''cat'' AND n < 5', reason := 'gdpr');
-- Example: FROM dreamdb_delete('hello', anchors := [1700000000000000001]);
CREATE OR REPLACE MACRO dreamdb_delete(ref, filter := NULL, anchors := NULL, t0 := NULL, t1 := NULL, reason := NULL)
AS TABLE
  SELECT done.ref AS ref, done.version AS version, done.rows AS rows
  FROM (SELECT unnest(CASE WHEN told.error IS NULL THEN [told] ELSE error(told.error) END) AS done
        FROM (SELECT __dreamdb_effect('delete', [ref || '', filter::VARCHAR, to_json(anchors::BIGINT[])::VARCHAR,
                                                 t0::BIGINT::VARCHAR, t1::BIGINT::VARCHAR, reason::VARCHAR]) AS told));
