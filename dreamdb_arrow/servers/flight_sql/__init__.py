"""Arrow Flight SQL, and plain Arrow Flight, over the project's own DuckDB session. ADR 0041."""
