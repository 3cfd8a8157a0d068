-- dreamdb_window(ref, anchors, before := INTERVAL 0 SECONDS, after := INTERVAL 0 SECONDS, as_of := NULL)
--
-- The rows around events: for each anchor of a list, `_event`, the rows of dreamdb_scan with
-- _event - before <= _anchor <= _event + after. A row near two events comes twice. Only stripes and row groups near an event are read.
-- The list is a literal, a parameter or a variable: `SET VARIABLE events = (SELECT list(_anchor) FROM ...)`.
--
-- Example: SELECT _event, count(*) FROM dreamdb_window('hello', [1700000010000000000], before := INTERVAL 2 SECONDS) GROUP BY _event;
CREATE OR REPLACE MACRO dreamdb_window(ref, anchors, before := INTERVAL 0 SECONDS, after := INTERVAL 0 SECONDS, as_of := NULL)
AS TABLE
  SELECT e._event, s.*
  FROM (SELECT unnest(anchors::BIGINT[]) AS _event) e
  JOIN query(__dreamdb_plan('window', ref, to_json({anchors: anchors, before: epoch_ns(before::INTERVAL), after: epoch_ns(after::INTERVAL)})::VARCHAR,
                            as_of::VARCHAR, NULL, NULL, current_transaction_id(), getvariable('__dreamdb')::VARCHAR)) s
    ON s._anchor BETWEEN e._event - epoch_ns(before::INTERVAL) AND e._event + epoch_ns(after::INTERVAL);
