"""The messages of Flight SQL, made from their field numbers in a pool of our own. ADR 0041.

Packages that ship generated messages register them in protobuf's common pool, where a second copy is refused; so two of
them cannot live in one process. Ours disturb nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import DecodeError

from dreamdb_arrow.errors import InvalidInputError

PACKAGE: Final = "arrow.flight.protocol.sql"
TYPE_URL: Final = f"type.googleapis.com/{PACKAGE}."
_TYPES: Final = {"i64": 3, "i32": 5, "bool": 8, "text": 9, "message": 11, "bytes": 12, "u32": 13}
_KEYS: Final = "catalog? text, db_schema? text, table text"
_CROSS: Final = ", ".join(f"{side}_{name}" for side in ("pk", "fk") for name in _KEYS.split(", "))
_NESTED: Final = "CommandStatementIngest.TableDefinitionOptions"

# Each field: name, `?` where its absence is told apart, `*` where it repeats, type; numbers are given in order, or before `:`.
_FIELDS: Final[Mapping[str, str]] = {
    "CommandGetSqlInfo": "info* u32",
    "CommandGetXdbcTypeInfo": "data_type? i32",
    "CommandGetCatalogs": "",
    "CommandGetDbSchemas": "catalog? text, db_schema_filter_pattern? text",
    "CommandGetTables": "catalog? text, db_schema_filter_pattern? text, table_name_filter_pattern? text, "
    "table_types* text, include_schema bool",
    "CommandGetTableTypes": "",
    "CommandGetPrimaryKeys": _KEYS,
    "CommandGetExportedKeys": _KEYS,
    "CommandGetImportedKeys": _KEYS,
    "CommandGetCrossReference": _CROSS,
    "ActionCreatePreparedStatementRequest": "query text, transaction_id? bytes",
    "ActionCreatePreparedStatementResult": "prepared_statement_handle bytes, dataset_schema bytes, parameter_schema bytes",
    "ActionClosePreparedStatementRequest": "prepared_statement_handle bytes",
    "ActionBeginTransactionRequest": "",
    "ActionBeginTransactionResult": "transaction_id bytes",
    "ActionEndTransactionRequest": "transaction_id bytes, action i32",
    "CancelFlightInfoRequest": "info bytes",  # Flight's own, as its result: these travel bare
    "CancelFlightInfoResult": "status i32",
    "ActionCancelQueryRequest": "info bytes",
    "ActionCancelQueryResult": "result i32",
    "CommandStatementQuery": "query text, transaction_id? bytes",
    "TicketStatementQuery": "statement_handle bytes",
    "CommandPreparedStatementQuery": "prepared_statement_handle bytes",
    "CommandPreparedStatementUpdate": "prepared_statement_handle bytes",
    "CommandStatementUpdate": "query text, transaction_id? bytes",
    "CommandStatementIngest": "table_definition_options message, table text, schema? text, catalog? text, temporary bool, "
    "transaction_id? bytes",
    "DoPutUpdateResult": "record_count i64",
    "DoPutPreparedStatementResult": "prepared_statement_handle? bytes",
}


def _add_fields(message: Any, fields: str) -> None:
    for number, field in enumerate(filter(None, fields.split(", ")), start=1):
        name, kind = field.split(" ")
        made = message.field.add(
            name=name.rstrip("?*"), number=number, type=_TYPES[kind], label=3 if "*" in name else 1
        )
        if kind == "message":
            made.type_name = f".{PACKAGE}.{_NESTED}"
        if "?" in name:
            made.proto3_optional, made.oneof_index = True, len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{made.name}")


def _make_messages() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="dreamdb_arrow/flight_sql.proto", package=PACKAGE, syntax="proto3"
    )
    for name, fields in _FIELDS.items():
        made = file.message_type.add(name=name)
        _add_fields(made, fields)
        if _NESTED.startswith(f"{name}."):  # two enumerations, read as numbers
            _add_fields(
                made.nested_type.add(name=_NESTED.partition(".")[2]), "if_not_exist i32, if_exists i32"
            )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {n: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{n}")) for n in _FIELDS}


MESSAGES: Final = _make_messages()


def pack(name: str, **fields: Any) -> bytes:
    """Return a message wrapped in Any, as commands, tickets and results of actions travel."""
    return Packed(type_url=f"{TYPE_URL}{name}", value=bare(name, **fields)).SerializeToString()


def bare(name: str, **fields: Any) -> bytes:
    """Return the bytes of a message."""
    data: bytes = MESSAGES[name](**fields).SerializeToString()
    return data


def read_bare(name: str, data: bytes) -> Any:
    """Return a message that is not wrapped. Raises InvalidInputError for bytes that are none."""
    try:
        return MESSAGES[name].FromString(data)
    except DecodeError:
        raise InvalidInputError(f"no {name}: its bytes cannot be read") from None


def unpack(data: bytes) -> tuple[str, Any]:
    """Return name and message of what `pack` wrote. Raises InvalidInputError for anything else."""
    try:
        packed = Packed.FromString(data)
        name = packed.type_url.removeprefix(TYPE_URL)
        if packed.type_url.startswith(TYPE_URL) and name in MESSAGES:
            return name, MESSAGES[name].FromString(packed.value)
    except DecodeError:
        raise InvalidInputError("no Flight SQL message: its bytes cannot be read") from None
    raise InvalidInputError(f"no Flight SQL message that this server knows: {packed.type_url[:200]!r}")
