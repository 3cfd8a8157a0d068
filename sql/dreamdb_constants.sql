-- dreamdb_constants(ref, as_of := NULL)
--
-- The constant fields of a Ref: `field`, `modality`, `value` (text, or JSON).
--
-- Example: SELECT field, value FROM dreamdb_constants('hello');
CREATE OR REPLACE MACRO dreamdb_constants(ref, as_of := NULL) AS TABLE
  FROM query(list_transform(
    [__dreamdb_plan('constants', ref, to_json({as_of: as_of})::VARCHAR, current_transaction_id(),
                    getvariable('__dreamdb')::VARCHAR)],
    lambda p: CASE WHEN p[1] = '!' THEN error(p[2:]) ELSE p END)[1]);
