"""What tests of a Space need, shipped for other implementations too.

FaultyStore                  testing.faulty      a store whose n-th call fails
check_objects                testing.invariants  every object hashes to its name, nothing is missing
Version, spread, ...         testing.model       a Space as plain dicts
rows, batches, vectors, ...  testing.strategies  Hypothesis strategies; the only file that needs hypothesis
"""

from dreamdb_arrow.testing.faulty import FaultyStore
from dreamdb_arrow.testing.invariants import check_objects

__all__ = ["FaultyStore", "check_objects"]
