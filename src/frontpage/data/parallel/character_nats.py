"""What the frequencies of single characters alone say of a text: a loss that every model should be below."""

import math
from collections import Counter
from collections.abc import Sequence

END = "<eos>"  # beside the characters, which are one letter each


def character_nats(training: Sequence[str], held_out: Sequence[str], characters: float) -> float:
    """Nats a character of the texts `held_out`, of so many characters in all, by the frequencies in `training`.

    A character has its frequency, one more than counted, and the end of a text counts as one.
    """
    counts = Counter("".join(training))
    counts[END] += len(training)
    seen = Counter("".join(held_out))
    seen[END] = len(held_out)
    total = math.log(counts.total() + len(counts.keys() | seen.keys()))
    return sum(times * (total - math.log(counts[letter] + 1)) for letter, times in seen.items()) / characters
