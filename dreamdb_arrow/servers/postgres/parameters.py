"""Which types a statement's parameters have, from its tree: what they are cast to, or compared with. ADR 0048.

DuckDB does not tell, and clients that send values in binary (asyncpg) have to know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pg_mimic import types

from dreamdb_arrow.servers.postgres.values import OF_SQL
from dreamdb_arrow.servers.sandbox import nodes_of

PARAMETER: Final = "PARAMETER"


def oids_of(tree: Any, columns: Mapping[str, str]) -> dict[str, int]:
    """Return the types of parameters by name, where the tree tells; the others are text.

    Args:
        tree: a statement's.
        columns: types of columns by name in lower case, of the tables that it names.
    """
    found: dict[str, int] = {}
    for node in nodes_of(tree):
        for name, kind in _told_by(node, columns):
            oid = OF_SQL.get(kind.partition("(")[0].upper())
            if oid is not None:
                found.setdefault(name, oid)
    return found


def _told_by(node: dict[str, Any], columns: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if node.get("class") == "CAST":
        yield from ((n, node["type_expr"].get("type_name", "")) for n in _names([node["child"]]))
    if node.get("type") == "LIMIT_MODIFIER":
        yield from ((n, "BIGINT") for n in _names([node["limit"], node["offset"]]))
    if node.get("class") in {"COMPARISON", "OPERATOR", "BETWEEN", "FUNCTION"}:
        sides = [node.get(k) for k in ("left", "right", "input", "lower", "upper")]
        sides += node.get("children", [])
        sides += [argument["expression"] for argument in node.get("arguments", []) if node.get("is_operator")]
        kinds = [kind for side in sides if (kind := _kind(side, columns))]
        yield from ((n, kinds[0]) for n in _names(sides) if kinds)


def _names(sides: list[Any]) -> list[str]:
    return [s["identifier"] for s in sides if s is not None and s.get("class") == PARAMETER]


def _kind(side: Any, columns: Mapping[str, str]) -> str:
    if side is None or side.get("class") not in {"COLUMN_REF", "CAST"}:
        return ""
    if side["class"] == "CAST":
        return str(side["type_expr"].get("type_name", ""))
    return columns.get(side["column_names"][-1].lower(), "")


def numbers(tree: Mapping[str, int], names: tuple[str, ...], declared: list[int | None]) -> list[int]:
    """Return a type for each parameter: as the client declared it, else as the tree tells, else text."""
    padded = [*declared, *[None] * len(names)]
    return [given or tree.get(name, types.TEXT) for name, given in zip(names, padded, strict=False)]
