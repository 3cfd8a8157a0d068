"""What tests of a Space need, shipped for other implementations too.

FaultyStore                  testing.faulty      a store of whose calls the n-th goes wrong, in many ways
VERBS, SPACES, Place         testing.verbs       every verb that writes, and what it begins with
state_of, states_of          testing.states      the states that an interrupted verb may leave
Killer                       testing.kills       verbs in a process that is killed at a random moment
check_objects                testing.invariants  every object hashes to its name, nothing is missing
write_sample                 testing.sample      a small Space that has every kind of object
fuzz                         testing.fuzz        every decoder against damaged bytes
Version, spread, ...         testing.model       a Space as plain dicts
rows, batches, vectors, ...  testing.strategies  Hypothesis strategies; the only file that needs hypothesis
"""

from dreamdb_arrow.testing.faulty import FaultyStore
from dreamdb_arrow.testing.invariants import check_objects

__all__ = ["FaultyStore", "check_objects"]
