"""SQL types of DuckDB, by name, as SQLAlchemy's. ADR 0047."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import types

DECIMAL: Final = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)")
ITEMS: Final = re.compile(r"(.+)\[\d*\]")  # of a list, or of a vector of a fixed width
NAMED: Final[Mapping[str, type[types.TypeEngine[Any]]]] = {
    "BOOLEAN": types.Boolean,
    "TINYINT": types.SmallInteger,
    "SMALLINT": types.SmallInteger,
    "UTINYINT": types.SmallInteger,
    "INTEGER": types.Integer,
    "USMALLINT": types.Integer,
    "BIGINT": types.BigInteger,
    "UINTEGER": types.BigInteger,
    "FLOAT": types.Float,
    "DOUBLE": types.Float,
    "VARCHAR": types.String,
    "BLOB": types.LargeBinary,
    "DATE": types.Date,
    "TIME": types.Time,
    "TIMESTAMP": types.DateTime,
    "TIMESTAMP_S": types.DateTime,
    "TIMESTAMP_MS": types.DateTime,
    "TIMESTAMP_NS": types.DateTime,
    "INTERVAL": types.Interval,
}
WHOLE_DIGITS: Final[Mapping[str, int]] = {"UBIGINT": 20, "HUGEINT": 39, "UHUGEINT": 39}


def sqlalchemy_type(name: str) -> types.TypeEngine[Any]:
    """Return the SQLAlchemy type of a DuckDB type; `NullType` for one that SQLAlchemy has no word for (structs, maps)."""
    if found := ITEMS.fullmatch(name):
        return types.ARRAY(sqlalchemy_type(found[1]))
    if found := DECIMAL.fullmatch(name):
        return types.Numeric(int(found[1]), int(found[2]))
    if name in WHOLE_DIGITS:
        return types.Numeric(WHOLE_DIGITS[name], 0)
    if name == "TIMESTAMP WITH TIME ZONE":
        return types.DateTime(timezone=True)
    return NAMED.get(name, types.NullType)()
