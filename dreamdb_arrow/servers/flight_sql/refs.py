"""Plain Flight: Refs as flights, with an endpoint for each run of stripes, so that readers work side by side. ADR 0041."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pyarrow.flight as fl

from dreamdb_arrow.codec.address import parse_address
from dreamdb_arrow.columnar.overlaps import overlapping
from dreamdb_arrow.dataset.scope import Scope
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.engines.plans import literal
from dreamdb_arrow.errors import InvalidInputError

KIND: Final = "dreamdb-rows"  # the first key of our tickets, which are JSON; those of Flight SQL never begin with a brace


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one version with t0 <= _anchor < t1."""

    ref: str
    version: str
    t0: int
    t1: int

    def ticket(self) -> fl.Ticket:
        """Return it as a ticket."""
        return fl.Ticket(json.dumps({KIND: [self.ref, self.version, self.t0, self.t1]}).encode())

    def sql(self) -> str:
        """Return the query of its rows."""
        where = f"as_of := {literal(self.version)}, t0 := {self.t0:d}, t1 := {self.t1:d}"
        return f"FROM dreamdb_scan({literal(self.ref)}, {where})"


def is_part(ticket: bytes) -> bool:
    """Whether a ticket is one of ours."""
    return ticket.startswith(b"{")


def part_of(ticket: bytes) -> Part:
    """Return what a ticket asks for. Raises InvalidInputError for one that was not ours."""
    try:
        ref, version, t0, t1 = json.loads(ticket)[KIND]
    except (ValueError, KeyError, TypeError):
        raise InvalidInputError("the ticket is none that this server gave") from None
    if not isinstance(ref, str) or not isinstance(version, str) or type(t0) is not int or type(t1) is not int:
        raise InvalidInputError("the ticket is none that this server gave")
    return Part(ref, str(parse_address(version)), t0, t1)


def parts_of(space: Space, ref: str, scope: Scope) -> Iterator[Part]:
    """Yield the parts of a Ref as it is now, one a stripe or a group of stripes that overlap, as far as a scope has them."""
    version = scope.resolve(space, ref)
    for group in overlapping(space.rows(version).stripes):
        t0, t1 = scope.cut(group[0].t0, max(stripe.t1 for stripe in group))
        if t0 < t1:
            yield Part(ref, str(version), t0, t1)
