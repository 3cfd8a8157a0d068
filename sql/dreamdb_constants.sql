-- dreamdb_constants(ref, as_of := NULL)
--
-- The constant fields of a Ref: `field`, `modality`, `value` (text, or JSON).
--
-- Example: SELECT field, value FROM dreamdb_constants('hello');
CREATE OR REPLACE MACRO dreamdb_constants(ref, as_of := NULL) AS TABLE
  FROM query(__dreamdb_plan('constants', ref, NULL, as_of::VARCHAR, NULL, NULL,
                            current_transaction_id(), getvariable('__dreamdb')::VARCHAR));
