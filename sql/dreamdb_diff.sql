-- dreamdb_diff(ref, other, as_of := NULL)
--
-- What changed from a version of a Ref to another one, ascending by anchor: `_anchor`; `change`, one of `added`, `deleted`,
-- `changed`; `fields`, the names of the fields whose values changed. Fields that were added, dropped or made anew come first,
-- without an anchor, as `field added` and so on.
--
--   other   a Ref, a Ref's snapshot or time (`hello@first`, `hello@2026-11-23`), or the address of a version
--   as_of   as in dreamdb_scan
--
-- Example: SELECT change, count(*) FROM dreamdb_diff('hello', 'hello', as_of := 'first') GROUP BY change;
CREATE OR REPLACE MACRO dreamdb_diff(ref, other, as_of := NULL) AS TABLE
  FROM query(__dreamdb_plan('diff', ref, other, as_of::VARCHAR, NULL, NULL,
                            current_transaction_id(), getvariable('__dreamdb')::VARCHAR));
