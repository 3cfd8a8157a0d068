"""One Object kind a file: a frozen dataclass, encode and decode; pure."""
