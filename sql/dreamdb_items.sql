-- dreamdb_items(ref, field, as_of := NULL)
--
-- What is known of the values of an image, audio, video, video_item or geometry field, besides their bytes: `_anchor`,
-- `t1` (where a value ends, in ns), `size`, `object` (the address of what holds it), `init` (the address of the init
-- segment that goes before a CMAF fragment or a video item), `key` (of a video item), `detail` (of a geometry item: its
-- grid, and its cells or levels, as JSON).
--
-- Example: SELECT _anchor, t1 - _anchor AS lasts_ns, size FROM dreamdb_items('drive', 'camera');
CREATE OR REPLACE MACRO dreamdb_items(ref, field, as_of := NULL) AS TABLE
  FROM query(__dreamdb_plan('items', ref, field, as_of::VARCHAR, NULL, NULL,
                            current_transaction_id(), getvariable('__dreamdb')::VARCHAR));
