-- dreamdb_schema(ref, as_of := NULL)
--
-- The fields of a Ref, and of those that cannot be read, the reason: `field`, `kind`, `type`, `required`, `algorithm`, `mime`, `available`, `reason`.
--
-- Example: SELECT field, type FROM dreamdb_schema('hello');
CREATE OR REPLACE MACRO dreamdb_schema(ref, as_of := NULL) AS TABLE
  FROM query(__dreamdb_plan('schema', ref, NULL, as_of::VARCHAR, NULL, NULL,
                            current_transaction_id(), getvariable('__dreamdb')::VARCHAR));
