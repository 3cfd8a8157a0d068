"""What the vectors ask for, said with dreamdb_arrow: each operation is a function from its input to its output.

A codec is two operations, `x.decode` from `hex` to a value and `x.encode` from `value` to hex; both get the rest of the
input as context.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import arrays
import metadata
import scalars
import spaces
import vectors
from notation import expand_hex

Operation = Callable[[dict[str, Any]], Any]


def _codec(decode: Callable[..., Any], encode: Callable[..., bytes]) -> tuple[Operation, Operation]:
    def read(given: dict[str, Any]) -> Any:
        context = {name: item for name, item in given.items() if name != "hex"}
        return decode(expand_hex(given["hex"]), **context)

    def write(given: dict[str, Any]) -> str:
        context = {name: item for name, item in given.items() if name != "value"}
        return encode(given["value"], **context).hex()

    return read, write


def _operations() -> dict[str, Operation]:
    found: dict[str, Operation] = {}
    for module in (metadata, scalars, vectors, arrays, spaces):
        for name, (decode, encode) in module.CODECS.items():
            found[f"{name}.decode"], found[f"{name}.encode"] = _codec(decode, encode)
        for name, function in module.FUNCTIONS.items():
            found[name] = lambda given, function=function: function(**given)
    return found


OPERATIONS: Final = _operations()
