"""Files with some pieces put in, taken out, doubled or exchanged, for tests of what reads them."""

from __future__ import annotations

import random
from collections.abc import Sequence


def mutated(chance: random.Random, seeds: Sequence[bytes], pieces: Sequence[str]) -> bytes:
    """One of the seeds after one to six mutations, some of which take a part of another seed."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(data) + 1)
        length = chance.choice((1, 1, 2, 5, 20, 80))
        kind = chance.randrange(6)
        if kind == 0:
            data[at:at] = chance.choice(pieces).encode()
        elif kind == 1:
            del data[at : at + length]
        elif kind == 2:
            data[at:at] = data[at : at + length]
        elif kind == 3:
            data[at : at + length] = chance.choice(pieces).encode()
        elif kind == 4:
            other = chance.choice(seeds)
            begin = chance.randrange(len(other))
            data[at:at] = other[begin : begin + 4 * length]
        elif data:
            data[at % len(data)] = chance.randrange(256)
    return bytes(data)
