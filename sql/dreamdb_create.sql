-- dreamdb_create(ref, schema, flush := 'manual')
--
-- Make an empty dataset: `ref`, `version`. `schema` is a struct of names and types, as text: `int`, `float`, `string`,
-- `categorical`, `bool`, `timestamp`; `embedding[384]`; `image/jpeg`, `audio/wav`, `video/mp4`; `f32[3]` for arrays of three
-- numbers, `f32[*, *]` for lists of lists of any length (f64, i8 to i64, u8 to u64 as well). A `?` at the end: a row may be without.
-- COPY (SELECT ...) TO 'dreamdb://ref' (FORMAT parquet) appends rows, and makes a dataset that is not there yet by itself,
-- from the types of its columns. It happens as in dreamdb_branch.
--
--   flush    when Tracks, which other SDKs read, are brought up to date: `manual` (dreamdb_flush) or `commit` (always)
-- Example: FROM dreamdb_create('notes', {label: 'categorical', n: 'int?', embedding: 'embedding[2]?'});
CREATE OR REPLACE MACRO dreamdb_create(ref, schema, flush := 'manual') AS TABLE
  SELECT done.ref AS ref, done.version AS version
  FROM (SELECT unnest(CASE WHEN told.error IS NULL THEN [told] ELSE error(told.error) END) AS done
        FROM (SELECT __dreamdb_effect('create', [ref || '', to_json(schema)::VARCHAR, flush::VARCHAR]) AS told));
