-- dreamdb_federation_scan(as_of := NULL, t0 := NULL, t1 := NULL)
--
-- The rows of all members of a federation: `_source` (the member's name), then what dreamdb_scan has, united by name. A
-- member that does not answer is left out, and dreamdb_federation_members tells so, unless the federation was opened with
-- `partial=False`. Columns of one name must have one type.
--
-- Example: SELECT _source, count(*) FROM dreamdb_federation_scan() GROUP BY _source;
CREATE OR REPLACE MACRO dreamdb_federation_scan(as_of := NULL, t0 := NULL, t1 := NULL) AS TABLE
  FROM query(__dreamdb_federation('scan', NULL, as_of::VARCHAR, t0::VARCHAR, t1::VARCHAR, current_transaction_id(),
                                  getvariable('__dreamdb')::VARCHAR));
