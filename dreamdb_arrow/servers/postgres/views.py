"""PostgreSQL's catalog as views and macros of DuckDB, as far as clients ask for it. ADR 0048.

They stand in a schema of their own, as DuckDB lets nobody add to `pg_catalog`, and look at tables that are empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pg_mimic.arrays import ARRAY_OID

from dreamdb_arrow._version import __version__
from dreamdb_arrow.servers.postgres.values import OF_SQL

PLACE: Final = "pgc"
VERSION: Final = "15.0"
VERSION_TEXT: Final = f"{VERSION} (dreamdb_arrow {__version__})"
OIDS: Final[Mapping[str, int]] = {**OF_SQL, "VARCHAR": 25, "JSON": 3802}
NAMES: Final[Mapping[int, tuple[str, str]]] = {  # short and as SQL says it
    16: ("bool", "boolean"),
    17: ("bytea", "bytea"),
    19: ("name", "name"),
    20: ("int8", "bigint"),
    21: ("int2", "smallint"),
    23: ("int4", "integer"),
    25: ("text", "text"),
    26: ("oid", "oid"),
    700: ("float4", "real"),
    701: ("float8", "double precision"),
    1043: ("varchar", "character varying"),
    1082: ("date", "date"),
    1083: ("time", "time without time zone"),
    1114: ("timestamp", "timestamp without time zone"),
    1184: ("timestamptz", "timestamp with time zone"),
    1186: ("interval", "interval"),
    1700: ("numeric", "numeric"),
    2950: ("uuid", "uuid"),
    3802: ("jsonb", "jsonb"),
}
ARRAYS: Final = {ARRAY_OID[oid]: (f"_{short}", f"{long}[]", oid) for oid, (short, long) in NAMES.items()}
SETTINGS: Final[Mapping[str, str]] = {
    "max_index_keys": "32",
    "server_version": VERSION,
    "server_version_num": "150000",
    "server_encoding": "UTF8",
    "client_encoding": "UTF8",
    "search_path": "main",
    "standard_conforming_strings": "on",
    "transaction_isolation": "repeatable read",
    "default_transaction_isolation": "repeatable read",
    "transaction_read_only": "on",
    "default_transaction_read_only": "on",
    "datestyle": "ISO, MDY",
    "timezone": "UTC",
    "is_superuser": "off",
    "max_identifier_length": "63",
    "lc_collate": "C",
    "bytea_output": "hex",
    "jit": "off",
}
TYPE_COLUMNS: Final = (
    "11 typnamespace, 10 typowner, -1 typlen, 'b' typtype, 'U' typcategory, 0 typrelid, 0 typbasetype, -1 typtypmod, "
    "false typnotnull, 0 typcollation, ',' typdelim, NULL typdefault, 0 typinput, 0 typoutput, 0 typreceive, 0 typndims"
)
FILLED: Final[Mapping[str, str]] = {
    "pg_namespace": "SELECT oid::INT oid, nspname, 10 nspowner, NULL::VARCHAR[] nspacl FROM pg_catalog.pg_namespace "
    "WHERE oid IN (SELECT oid FROM duckdb_schemas() WHERE (database_name = current_database() AND schema_name = 'main') "
    "OR (database_name = 'system' AND schema_name IN ('pg_catalog', 'information_schema')))",
    "pg_class": "SELECT c.oid::INT oid, relname, relnamespace::INT relnamespace, 0 reltype, 0 reloftype, 10 relowner, 2 relam, "
    "0 relfilenode, 0 reltablespace, 0 relpages, 0::FLOAT reltuples, 0 relallvisible, 0 reltoastrelid, false relhasindex, "
    "false relisshared, 'p' relpersistence, 'r' relkind, relnatts, 0 relchecks, false relhasrules, false relhastriggers, "
    "false relhassubclass, false relrowsecurity, false relforcerowsecurity, true relispopulated, 'd' relreplident, "
    "false relispartition, NULL::VARCHAR[] relacl, NULL::VARCHAR[] reloptions, NULL relpartbound, false relhasoids, "
    "NULL relpartkeydef FROM pg_catalog.pg_class c WHERE c.oid IN (SELECT table_oid FROM duckdb_tables() WHERE schema_name = 'main')",
    "pg_attribute": "SELECT table_oid::INT attrelid, column_name attname, pgc_oid(data_type) atttypid, -1 attstattarget, "
    "-1 attlen, column_index attnum, 0 attndims, -1 atttypmod, not is_nullable attnotnull, false atthasdef, '' attidentity, "
    "'' attgenerated, false attisdropped, 0 attcollation, NULL::VARCHAR[] attacl, NULL::VARCHAR[] attoptions, "
    "NULL::VARCHAR[] attfdwoptions, '' attcompression, 'p' attstorage, false atthasmissing "
    "FROM duckdb_columns() WHERE schema_name = 'main' AND database_name = current_database()",
    "pg_description": "SELECT t.table_oid::INT objoid, 1259 classoid, 0 objsubid, t.comment description FROM duckdb_tables() t "
    "WHERE schema_name = 'main' AND t.comment IS NOT NULL",
    "pg_roles": "SELECT 10 oid, 'owner' rolname, false rolsuper, true rolinherit, false rolcreaterole, false rolcreatedb, "
    "true rolcanlogin, -1 rolconnlimit, NULL rolvaliduntil, false rolreplication, false rolbypassrls",
    "pg_database": "SELECT 1 oid, current_database() datname, 10 datdba, 6 encoding, 'C' datcollate, 'C' datctype, "
    "'c' datlocprovider, NULL daticulocale, NULL::VARCHAR[] datacl, true datallowconn, false datistemplate, -1 datconnlimit",
    "pg_am": "SELECT 2 oid, 'heap' amname",
    "tables": "SELECT * FROM information_schema.tables WHERE table_schema = 'main'",
    "columns": "SELECT * REPLACE (pgc_format_type(pgc_oid(data_type)) AS data_type), pgc_type_name(pgc_oid(data_type)) udt_name "
    "FROM information_schema.columns WHERE table_schema = 'main'",
    "schemata": "SELECT * FROM information_schema.schemata WHERE schema_name = 'main' AND catalog_name = current_database()",
    "views": "SELECT table_catalog, table_schema, table_name, '' view_definition FROM information_schema.tables WHERE false",
}
NEVER_ANY: Final[Mapping[str, str]] = {  # columns with a value of their type
    "pg_constraint": "0 oid, '' conname, 0 conrelid, 0 confrelid, 'p' contype, 0 connamespace, 0 conindid, [0] conkey, [0] confkey, "
    "0 conparentid, false condeferrable, false condeferred, true convalidated, '' confupdtype, '' confdeltype, '' confmatchtype",
    "pg_index": "0 indexrelid, 0 indrelid, false indisprimary, false indisunique, false indisclustered, true indisvalid, "
    "false indisreplident, [0] indkey, [0] indclass, [0] indoption, [0] indcollation, 0 indnatts, 0 indnkeyatts, '' indpred, "
    "'' indexprs, false indnullsnotdistinct",
    "pg_attrdef": "0 oid, 0 adrelid, 0 adnum, '' adbin",
    "pg_inherits": "0 inhrelid, 0 inhparent, 0 inhseqno, false inhdetachpending",
    "pg_policy": "0 polrelid, '' polname, true polpermissive, [0] polroles, '' polqual, '' polwithcheck, '' polcmd",
    "pg_statistic_ext": "0 oid, 0 stxrelid, 0 stxnamespace, '' stxname, [0] stxkeys, [''] stxkind, 0 stxstattarget",
    "pg_publication": "0 oid, '' pubname, false puballtables",
    "pg_publication_rel": "0 prpubid, 0 prrelid, NULL prattrs, NULL prqual",
    "pg_publication_namespace": "0 pnpubid, 0 pnnspid",
    "pg_collation": "0 oid, '' collname, 0 collnamespace",
    "pg_enum": "0 oid, 0 enumtypid, 0.0 enumsortorder, '' enumlabel",
    "pg_auth_members": "0 roleid, 0 member",
    "pg_foreign_table": "0 ftrelid, 0 ftserver",
    "pg_foreign_server": "0 oid, '' srvname",
    "pg_trigger": "0 oid, 0 tgrelid, '' tgname, false tgisinternal",
    "pg_rewrite": "0 oid, 0 ev_class, '' rulename",
    "pg_partitioned_table": "0 partrelid",
    "pg_proc": "0 oid, '' proname, 0 pronamespace, 0 prorettype, 'f' prokind, 0 prolang",
    "pg_sequence": "0 seqrelid, 0 seqstart, 0 seqincrement, 0 seqmax, 0 seqmin, 0 seqcache, false seqcycle",
    "pg_depend": "0 classid, 0 objid, 0 objsubid, 0 refclassid, 0 refobjid, 0 refobjsubid, 'a' deptype",
    "pg_range": "0 rngtypid, 0 rngsubtype",
    "pg_tablespace": "0 oid, '' spcname",
    "pg_opclass": "0 oid, '' opcname, false opcdefault",
    "pg_extension": "0 oid, '' extname, '' extversion",
    "pg_matviews": "'' schemaname, '' matviewname",
    "pg_shdescription": "0 objoid, 0 classoid, '' description",
    "key_column_usage": "'' constraint_name, '' table_schema, '' table_name, '' column_name, 0 ordinal_position",
    "table_constraints": "'' constraint_name, '' constraint_schema, '' table_schema, '' table_name, '' constraint_type",
}
MACROS: Final[Mapping[str, str]] = {
    "version()": f"'PostgreSQL {VERSION_TEXT}'",
    "pgc_setting(asked, missing := false)": "(SELECT setting FROM pgc.pg_settings s WHERE s.name = lower(asked))",
    "set_config(asked, given, is_local)": "given",
    "pg_backend_pid()": "0",
    "pg_is_in_recovery()": "false",
    "pg_advisory_unlock_all()": "NULL",
    "pg_get_userbyid(o)": "'owner'",
    "pg_get_function_result(o)": "''",
    "pg_get_function_arguments(o)": "''",
    "pg_get_viewdef(o, pretty := false)": "''",
    "pg_table_size(o)": "0",
    "pg_total_relation_size(o)": "0",
    "pg_size_pretty(n)": "n::VARCHAR",
    "array_lower(a, d)": "1",
    "array_upper(a, d)": "len(a)",
    "to_regtype(a)": "NULL::INT",
    "pg_get_serial_sequence(a, b)": "NULL",
    "pg_get_indexdef(a, b := 0, c := false)": "NULL",
    "pg_get_constraintdef(a, b := false)": "NULL",
    "pg_encoding_to_char(o)": "'UTF8'",
    "pg_get_partkeydef(o)": "NULL",
    "pg_relation_is_publishable(o)": "false",
    "pg_get_statisticsobjdef_columns(o)": "NULL",
    "obj_description(o, c := '')": "(SELECT description FROM pgc.pg_description WHERE objoid = o AND objsubid = 0)",
    "col_description(o, n)": "NULL::VARCHAR",
    "shobj_description(o, c)": "NULL::VARCHAR",
    "has_table_privilege(a, b, c := '')": "true",
    "has_schema_privilege(a, b, c := '')": "true",
    "has_database_privilege(a, b, c := '')": "true",
    "quote_ident(s)": "CASE WHEN regexp_full_match(s::VARCHAR, '[a-z_][a-z0-9_]*') THEN s::VARCHAR "
    "ELSE '\"' || replace(s::VARCHAR, '\"', '\"\"') || '\"' END",
    "parse_ident(s)": "string_split(replace(s, '\"', ''), '.')",
    "pgc_true(o)": "true",
    "pgc_regclass(s)": "(SELECT min(oid) FROM pgc.pg_class WHERE relname = replace(regexp_replace(s::VARCHAR, '^(\"?main\"?\\.)', ''), '\"', ''))",
    "pgc_regclass_name(o)": "(SELECT min(relname) FROM pgc.pg_class WHERE oid = o)",
}


def _map(pairs: Mapping[str, object] | Mapping[int, object]) -> str:
    said = ", ".join(f"{_word(key)}: {_word(value)}" for key, value in pairs.items())
    return f"MAP {{{said}}}"


def _word(value: object) -> str:
    return str(value) if isinstance(value, int) else f"'{value}'"


def _types() -> str:
    rows = [(oid, short, 0, ARRAY_OID[oid]) for oid, (short, _) in NAMES.items()]
    rows += [(oid, short, of, 0) for oid, (short, _, of) in ARRAYS.items()]
    said = ", ".join(f"({oid}, '{name}', {of}, {array})" for oid, name, of, array in rows)
    return f"SELECT *, {TYPE_COLUMNS} FROM (VALUES {said}) v(oid, typname, typelem, typarray)"


def _type_macros() -> Mapping[str, str]:
    long = {oid: name for oid, (_, name) in NAMES.items()} | {
        oid: name for oid, (_, name, _) in ARRAYS.items()
    }
    short = {oid: name for oid, (name, _) in NAMES.items()} | {
        oid: name for oid, (name, *_) in ARRAYS.items()
    }
    arrays = {of: oid for oid, (*_, of) in ARRAYS.items()}
    plain = f"coalesce({_map(OIDS)}[regexp_replace(t, '\\(.*', '')], 25)"
    of_list = f"coalesce({_map(arrays)}[pgc_plain_oid(regexp_replace(t, '\\[\\d*\\]$', ''))], 3802)"
    return {
        "pgc_plain_oid(t)": plain,
        "pgc_oid(t)": "CASE WHEN t LIKE 'STRUCT%' OR t LIKE 'MAP%' OR t LIKE '%][%]' THEN 3802 "
        f"WHEN t LIKE '%]' THEN {of_list} ELSE pgc_plain_oid(t) END",
        "pgc_format_type(o)": f"coalesce({_map(long)}[o::INT], 'text')",
        "pgc_type_name(o)": f"coalesce({_map(short)}[o::INT], 'text')",
    }


def catalog_sql() -> str:
    """Return the SQL that makes the schema, its views and the macros."""
    settings = ", ".join(f"('{name}', '{value}')" for name, value in SETTINGS.items())
    empty = {name: f"SELECT {columns} WHERE false" for name, columns in NEVER_ANY.items()}
    views = {
        "pg_type": _types(),
        "pg_settings": f"SELECT name, setting FROM (VALUES {settings}) v(name, setting)",
    }
    types = [f"CREATE MACRO {call} AS {text}" for call, text in _type_macros().items()]
    made = [f"CREATE VIEW {PLACE}.{name} AS {text}" for name, text in {**views, **FILLED, **empty}.items()]
    macros = [f"CREATE MACRO {call} AS {text}" for call, text in MACROS.items()]
    return ";\n".join([f"CREATE SCHEMA {PLACE}", *types, *made, *macros])
