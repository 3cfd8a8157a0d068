-- dreamdb_help(name := NULL)
--
-- What the SQL functions are and how to call them: `function`, `signature`, `about`, `examples`; of one function, named with or
-- without `dreamdb_`, or of all. The same as docs/sql.md, from the same files.
--
-- Example: SELECT about FROM dreamdb_help('knn');
CREATE OR REPLACE MACRO dreamdb_help(name := NULL) AS TABLE
  FROM query(__dreamdb_plan('help', NULL, name::VARCHAR, NULL, NULL, NULL,
                            current_transaction_id(), getvariable('__dreamdb')::VARCHAR));
