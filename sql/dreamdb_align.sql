-- dreamdb_align(refs, every, fill := 'previous', t0 := NULL, t1 := NULL)
--
-- Scalar fields of several Refs on one grid of time: `_anchor`, `_time`, and one column a field, named `ref.field`. The ticks are the
-- multiples of `every` since 1970 in [t0, t1), and without these from the first row of all Refs to the last. What a tick shows of a
-- field is taken from its values in [t0, t1); rows without one do not count.
--
--   refs    names of Refs, for all their scalar fields (of numbers only, where fill is linear), and of fields: `['a', 'b.n']`
--   every   the step, an INTERVAL; a month counts thirty days
--   fill    'previous': the last value at or before the tick; NULL before the first
--           'linear': between that and the next one, by time; NULL where there is none on one side
--           'null': the last value, if it is younger than one step; else NULL
--
-- Example: FROM dreamdb_align(['hello.n', 'papers.n'], INTERVAL 10 SECONDS, fill := 'linear') LIMIT 3;
CREATE OR REPLACE MACRO dreamdb_align(refs, every, fill := 'previous', t0 := NULL, t1 := NULL) AS TABLE
  FROM query(__dreamdb_plan('align', NULL, to_json({refs: refs, every: epoch_ns(every::INTERVAL), fill: fill})::VARCHAR, NULL,
                            t0::VARCHAR, t1::VARCHAR, current_transaction_id(), getvariable('__dreamdb')::VARCHAR));
