-- dreamdb_federation_members()
--
-- The members, asked now: `name`, `ref`, `place` (which of its places answered; NULL when none did), `mirror` (whether that is
-- not its own), `manifest` (the version there), `errors` (what other places said).
--
-- Example: SELECT name, errors FROM dreamdb_federation_members() WHERE place IS NULL;
CREATE OR REPLACE MACRO dreamdb_federation_members() AS TABLE
  FROM query(__dreamdb_federation('members', NULL, NULL, NULL, NULL, current_transaction_id(),
                                  getvariable('__dreamdb')::VARCHAR));
