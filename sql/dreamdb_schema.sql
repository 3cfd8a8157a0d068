-- dreamdb_schema(ref, as_of := NULL)
--
-- The fields of a Ref, and of those that cannot be read, the reason: `field`, `kind`, `type`, `required`, `algorithm`, `mime`, `available`, `reason`.
--
-- Example: SELECT field, type FROM dreamdb_schema('hello');
CREATE OR REPLACE MACRO dreamdb_schema(ref, as_of := NULL) AS TABLE
  FROM query(list_transform(
    [__dreamdb_plan('schema', ref, to_json({as_of: as_of})::VARCHAR, current_transaction_id(),
                    getvariable('__dreamdb')::VARCHAR)],
    lambda p: CASE WHEN p[1] = '!' THEN error(p[2:]) ELSE p END)[1]);
