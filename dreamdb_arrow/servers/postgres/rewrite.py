"""What clients ask PostgreSQL's catalog, in the words of DuckDB and of our views. ADR 0048.

Texts first, for what sqlglot does not read; then its tree. Other statements are never touched: they are DuckDB's SQL.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import sqlglot
from sqlglot import exp

from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.servers.postgres.views import PLACE, SETTINGS

ASKS: Final = re.compile(
    r"\bpg_\w+|\binformation_schema\b|\breg(class|type|proc|namespace)\b|\bquote_ident\b|\bcurrent_setting\b|\bset_config\b"
    r"|\bversion\s*\(\s*\)|\bcurrent_(schemas?|database|user|catalog)\b|\b(obj|col|shobj)_description\b|\bhas_\w+_privilege\b",
    re.IGNORECASE,
)
SETTING: Final = re.compile(r"\bcurrent_setting\s*\(\s*'(\w+)'\s*\)", re.IGNORECASE)
NUMBERS: Final = {"regclass", "regtype", "regproc", "regnamespace", "name"}
Edit = tuple[re.Pattern[str], str]


def _edits(*pairs: tuple[str, str]) -> Sequence[Edit]:
    return [(re.compile(pattern, re.IGNORECASE), new) for pattern, new in pairs]


BEFORE: Final = _edits(
    (r"OPERATOR\s*\(\s*pg_catalog\.([!~*=]+)\s*\)", r"\1"),
    (r'COLLATE\s+pg_catalog\."?default"?', ""),
    (r"'pg_class'::(pg_catalog\.)?regclass", "1259"),
    (r"'(pg_catalog\.)?pg_\w+'::(pg_catalog\.)?regclass", "1"),
    (r"('[^']*')::(pg_catalog\.)?regclass(::\w+)?", r"pgc_regclass(\1)"),
    (r"([\w.]+)::(pg_catalog\.)?regclass::(pg_catalog\.)?text", r"pgc_regclass_name(\1)"),
    (r"::(pg_catalog\.)?(regclass|regtype|regproc|regnamespace)", ""),
    (r'::(pg_catalog\.)?"char"', "::text"),
    (r"::pg_catalog\.", "::"),
    (r"pg_catalog\.(\w+)\s*\(", r"\1("),
    (r"\bcurrent_setting\s*\(", "pgc_setting("),
)
AFTER: Final = _edits(
    (r"pg_get_expr\s*\(([^,()]+),([^,()]+),[^()]*\)", r"pg_get_expr(\1,\2)"),
    (r"\bformat_type\s*\(\s*([\w.\"]+)\s*,[^)]*\)", r"pgc_format_type(\1)"),
    (r"\bjson_build_object\b", "json_object"),
    (r"\bpg_(table|type|function)_is_visible\s*\(", "pgc_true("),
)


def asks_catalog(sql: str) -> bool:
    """Return whether a statement may be about the catalog: whether a word of it is there."""
    return ASKS.search(sql) is not None


def rewritten(sql: str) -> str:
    """Return a statement about the catalog in DuckDB's SQL. Raises InvalidInputError for one that sqlglot does not read."""
    sql = SETTING.sub(lambda found: f"'{SETTINGS.get(found[1].lower(), '')}'", sql)
    for pattern, new in BEFORE:
        sql = pattern.sub(new, sql)
    try:
        tree = sqlglot.parse_one(sql, dialect="postgres")
    except sqlglot.errors.SqlglotError as error:
        raise InvalidInputError(
            f"not read as a question about the catalog: {str(error).splitlines()[0]}"
        ) from None
    for division in list(tree.find_all(exp.Div)):
        division.replace(exp.IntDiv(this=division.this, expression=division.expression))
    _functions_in_from(tree)
    _casts(tree)
    _places(tree)
    sql = tree.sql(dialect="duckdb")
    for pattern, new in AFTER:
        sql = pattern.sub(new, sql)
    return sql


def _casts(tree: exp.Expr) -> None:
    """Turn casts to types that are names of numbers into look-ups, or leave them out."""
    for cast in list(tree.find_all(exp.Cast)):
        kind = cast.to.sql(dialect="postgres").lower().removeprefix("pg_catalog.")
        if kind not in NUMBERS:
            continue
        named = isinstance(cast.this, exp.Literal) and cast.this.is_string
        if kind == "regclass" and (named or isinstance(cast.this, exp.Placeholder | exp.Parameter)):
            cast.replace(exp.func("pgc_regclass", cast.this.copy()))
        elif kind in {"regtype", "name"}:
            cast.replace(exp.cast(cast.this.copy(), "text"))
        else:
            cast.replace(cast.this.copy())


def _functions_in_from(tree: exp.Expr) -> None:
    """Name the one column of a function in FROM as the function is named there, and let a plain one stand in a query."""
    for table in list(tree.find_all(exp.Table)):
        if not isinstance(table.this, exp.Func) or not table.alias:
            continue
        named = exp.TableAlias(this=exp.to_identifier(table.alias), columns=[exp.to_identifier(table.alias)])
        if isinstance(table.this, exp.GenerateSeries | exp.ExplodingGenerateSeries | exp.Unnest):
            table.set("alias", named)
        else:
            table.replace(exp.Subquery(this=exp.select(table.this.copy()), alias=named))


def _places(tree: exp.Expr) -> None:
    """Let tables of the catalog be our views."""
    for table in tree.find_all(exp.Table):
        schema = (table.db or "").lower()
        if schema in {"pg_catalog", "information_schema"} or (
            not schema and table.name.lower().startswith("pg_")
        ):
            table.set("db", exp.to_identifier(PLACE))
            table.set("catalog", None)
    for column in tree.find_all(exp.Column):
        if (column.db or "").lower() in {"pg_catalog", "information_schema"}:
            column.set("db", None)
