-- dreamdb_tracks(ref, as_of := NULL)
--
-- The active Tracks of a Ref, those of the columnar layer too: `field`, `modality`, `kind`, `role`, `t0`, `t1`, `track`, `path`.
--
-- Example: SELECT field, modality FROM dreamdb_tracks('hello');
CREATE OR REPLACE MACRO dreamdb_tracks(ref, as_of := NULL) AS TABLE
  FROM query(__dreamdb_plan('tracks', ref, NULL, as_of::VARCHAR, NULL, NULL,
                            current_transaction_id(), getvariable('__dreamdb')::VARCHAR));
