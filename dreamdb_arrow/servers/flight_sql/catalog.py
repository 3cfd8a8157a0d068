"""What Flight SQL clients ask about a server: catalogs, schemas, tables, types, and what it can do. ADR 0041."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from dreamdb_arrow._version import __version__
from dreamdb_arrow.engines.plans import identifier

Row = tuple[Any, ...]


def _schema(text: str) -> pa.Schema:
    """Return a schema from its columns, each a name, `!` where it is never null, and a type."""
    made = []
    for column in text.split(", "):
        name, kind = column.split(" ")
        made.append(pa.field(name.rstrip("!"), _KINDS[kind], not name.endswith("!")))
    return pa.schema(made)


_KINDS: Final[Mapping[str, pa.DataType]] = {
    "utf8": pa.utf8(),
    "i32": pa.int32(),
    "u8": pa.uint8(),
    "bool": pa.bool_(),
    "binary": pa.binary(),
    "texts": pa.list_(pa.field("item", pa.utf8(), nullable=False)),
}
CATALOGS: Final = _schema("catalog_name! utf8")
SCHEMAS: Final = _schema("catalog_name utf8, db_schema_name! utf8")
TABLES: Final = _schema("catalog_name utf8, db_schema_name utf8, table_name! utf8, table_type! utf8")
TABLES_WITH: Final = TABLES.append(pa.field("table_schema", pa.binary(), nullable=False))
TABLE_TYPES: Final = _schema("table_type! utf8")
PRIMARY_KEYS: Final = _schema(
    "catalog_name utf8, db_schema_name utf8, table_name! utf8, column_name! utf8, key_sequence! i32, key_name utf8"
)
FOREIGN_KEYS: Final = _schema(
    "pk_catalog_name utf8, pk_db_schema_name utf8, pk_table_name! utf8, pk_column_name! utf8, fk_catalog_name utf8, "
    "fk_db_schema_name utf8, fk_table_name! utf8, fk_column_name! utf8, key_sequence! i32, fk_key_name utf8, "
    "pk_key_name utf8, update_rule! u8, delete_rule! u8"
)
XDBC: Final = _schema(
    "type_name! utf8, data_type! i32, column_size i32, literal_prefix utf8, literal_suffix utf8, create_params texts, "
    "nullable! i32, case_sensitive! bool, searchable! i32, unsigned_attribute bool, fixed_prec_scale! bool, "
    "auto_increment bool, local_type_name utf8, minimum_scale i32, maximum_scale i32, sql_data_type! i32, "
    "datetime_subcode i32, num_prec_radix i32, interval_precision i32"
)
# Name, number of the type in ODBC, and how many digits, characters or bytes.
TYPES: Final[Sequence[tuple[str, int, int]]] = (
    ("BOOLEAN", -7, 1),
    ("TINYINT", -6, 3),
    ("SMALLINT", 5, 5),
    ("INTEGER", 4, 10),
    ("BIGINT", -5, 19),
    ("FLOAT", 6, 24),
    ("DOUBLE", 8, 53),
    ("DECIMAL", 3, 38),
    ("VARCHAR", 12, 2147483647),
    ("BLOB", -4, 2147483647),
    ("DATE", 91, 10),
    ("TIME", 92, 15),
    ("TIMESTAMP", 93, 26),
)
QUOTED: Final = frozenset({"VARCHAR", "DATE", "TIME", "TIMESTAMP"})
INFO_CHILDREN: Final[Sequence[tuple[str, pa.DataType]]] = (
    ("string_value", pa.utf8()),
    ("bool_value", pa.bool_()),
    ("bigint_value", pa.int64()),
    ("int32_bitmask", pa.int32()),
    ("string_list", pa.list_(pa.utf8())),
    ("int32_to_int32_list_map", pa.map_(pa.int32(), pa.list_(pa.int32()))),
)
TEXT, TRUTH, NUMBER, CODE = range(4)  # which child holds a value
INFO: Final = pa.schema(
    [
        pa.field("info_name", pa.uint32(), nullable=False),
        pa.field("value", pa.dense_union([pa.field(n, t) for n, t in INFO_CHILDREN]), nullable=False),
    ]
)
# By the numbers of SqlInfo: what this server is and can do.
FACTS: Final[Mapping[int, tuple[int, Any]]] = {
    0: (TEXT, "dreamdb_arrow"),
    1: (TEXT, __version__),
    2: (TEXT, pa.__version__),
    3: (TRUTH, False),  # only for reading
    4: (TRUTH, True),  # SQL
    5: (TRUTH, False),  # Substrait
    8: (CODE, 1),  # transactions, of reading
    9: (TRUTH, True),  # cancels
    10: (TRUTH, True),  # bulk ingest
    11: (TRUTH, False),  # bulk ingest within transactions
    500: (TRUTH, False),  # CREATE and DROP of catalogs, schemas, tables
    501: (TRUTH, False),
    502: (TRUTH, False),
    503: (CODE, 3),  # identifiers do not mind case
    504: (TEXT, '"'),
    505: (CODE, 3),
}

_TABLES_SQL: Final = """
    SELECT database_name, schema_name, view_name, 'VIEW' FROM duckdb_views()
    WHERE NOT internal AND database_name = $catalog AND ($schema IS NULL OR schema_name LIKE $schema)
      AND ($name IS NULL OR view_name LIKE $name) ORDER BY 1, 2, 3"""
CATALOG: Final = "memory"  # what DuckDB calls a database in memory
PLACE: Final = "main"


def table_of(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """Return rows as a table."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    return pa.table(
        [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)],
        schema=schema,
    )


def _given(message: Any, name: str) -> Any:
    return getattr(message, name) if message.HasField(name) else None


def _info(_: Any, message: Any) -> pa.Table:
    numbers = [n for n in (message.info or FACTS) if n in FACTS]
    held: list[list[Any]] = [[] for _ in INFO_CHILDREN]
    places = []
    for number in numbers:
        child, value = FACTS[number]
        places.append((child, len(held[child])))
        held[child].append(value)
    values = pa.UnionArray.from_dense(
        pa.array([child for child, _ in places], pa.int8()),
        pa.array([at for _, at in places], pa.int32()),
        [pa.array(rows, t) for rows, (_, t) in zip(held, INFO_CHILDREN, strict=True)],
        [n for n, _ in INFO_CHILDREN],
    )
    return pa.Table.from_arrays([pa.array(numbers, pa.uint32()), values], schema=INFO)


def _catalogs(_: Any, __: Any) -> pa.Table:
    return table_of([(CATALOG,)], CATALOGS)


def _schemas(_: Any, message: Any) -> pa.Table:
    pattern = _given(message, "db_schema_filter_pattern")
    here = _given(message, "catalog") in {None, CATALOG} and pattern in {None, "%", "", PLACE}
    return table_of([(CATALOG, PLACE)] if here else [], SCHEMAS)


def _table_types(_: Any, __: Any) -> pa.Table:
    return table_of([("VIEW",)], TABLE_TYPES)


def _tables(cursor: Any, message: Any) -> pa.Table:
    wanted = {
        "catalog": _given(message, "catalog") or CATALOG,
        "schema": _given(message, "db_schema_filter_pattern"),
        "name": _given(message, "table_name_filter_pattern"),
    }
    rows = cursor.execute(_TABLES_SQL, wanted).fetchall()
    if message.table_types and "VIEW" not in message.table_types:
        rows = []
    if not message.include_schema:
        return table_of(rows, TABLES)
    return table_of([(*row, _columns(cursor, row[2])) for row in rows], TABLES_WITH)


def _columns(cursor: Any, name: str) -> bytes:
    """Return the columns of a table as an Arrow schema, which says their SQL types, too."""
    relation = cursor.sql(f"FROM {identifier(PLACE)}.{identifier(name)}")
    schema = relation.limit(0).to_arrow_table().schema
    fields = [
        field.with_metadata({"ARROW:FLIGHT:SQL:TYPE_NAME": str(kind)})
        for field, kind in zip(schema, relation.types, strict=True)
    ]
    return bytes(pa.schema(fields).serialize())


def _primary_keys(cursor: Any, message: Any) -> pa.Table:
    found = cursor.execute(
        "SELECT view_name FROM duckdb_views() WHERE NOT internal AND view_name = $1", [message.table]
    ).fetchall()
    return table_of([(CATALOG, PLACE, name, "_anchor", 1, None) for (name,) in found], PRIMARY_KEYS)


def _no_keys(_: Any, __: Any) -> pa.Table:
    return FOREIGN_KEYS.empty_table()


def _types(_: Any, message: Any) -> pa.Table:
    rows = [
        {
            "type_name": name,
            "data_type": number,
            "column_size": size,
            "literal_prefix": "'" if name in QUOTED else None,
            "literal_suffix": "'" if name in QUOTED else None,
            "nullable": 1,
            "case_sensitive": name == "VARCHAR",
            "searchable": 3,
            "fixed_prec_scale": False,
            "sql_data_type": number,
        }
        for name, number, size in TYPES
        if _given(message, "data_type") in {None, number}
    ]
    return pa.Table.from_pylist(rows, schema=XDBC)


ANSWERS: Final[Mapping[str, tuple[pa.Schema, Callable[[Any, Any], pa.Table]]]] = {
    "CommandGetSqlInfo": (INFO, _info),
    "CommandGetCatalogs": (CATALOGS, _catalogs),
    "CommandGetDbSchemas": (SCHEMAS, _schemas),
    "CommandGetTables": (TABLES, _tables),
    "CommandGetTableTypes": (TABLE_TYPES, _table_types),
    "CommandGetPrimaryKeys": (PRIMARY_KEYS, _primary_keys),
    "CommandGetExportedKeys": (FOREIGN_KEYS, _no_keys),
    "CommandGetImportedKeys": (FOREIGN_KEYS, _no_keys),
    "CommandGetCrossReference": (FOREIGN_KEYS, _no_keys),
    "CommandGetXdbcTypeInfo": (XDBC, _types),
}


def schema_of_answer(name: str, message: Any) -> pa.Schema:
    """Return the columns of the answer to a question about the server."""
    if name == "CommandGetTables" and message.include_schema:
        return TABLES_WITH
    return ANSWERS[name][0]
