"""Tokens on the colours of their nats, for a terminal, and what they cost as JSON."""

import math
from typing import Any, NamedTuple

from frontpage.data.tokenizer import TitleTokenizer
from frontpage.evaluation.scored_tokens import TitleTokens, TokenScore


class Shade(NamedTuple):
    """The colour of a token that costs less than `below` nats."""

    below: float
    code: str  # of ANSI: background and letters, of the 256 colours


SHADES = [
    Shade(1, "48;5;255;38;5;16"),
    Shade(3, "48;5;229;38;5;16"),
    Shade(5, "48;5;221;38;5;16"),
    Shade(7, "48;5;208;38;5;16"),
    Shade(math.inf, "48;5;160;38;5;231"),
]


def painted(text: str, nats: float) -> str:
    """The text on the colour of so many nats."""
    code = next(shade.code for shade in SHADES if nats < shade.below)
    return f"\033[{code}m{text}\033[0m"


def legend() -> str:
    """The colours and the nats, and the probabilities, that they stand for."""
    parts, least = [], 0.0
    for below, _ in SHADES:
        words = (
            f" below {below:g} " if not least else f" {least:g} and more " if below == math.inf else f" to {below:g} "
        )
        parts.append(painted(words, least))
        least = below
    shares = ", ".join(f"{nats}: {math.exp(-nats):.2g}" for nats in (1, 3, 5, 7))
    return f"nats  {''.join(parts)}   (as probabilities {shares})"


def as_json(tokenizer: TitleTokenizer, scored: TitleTokens, seen: bool | None) -> dict[str, Any]:
    """One title of the JSON."""

    def token(index: int, nats: float) -> dict[str, Any]:
        text = tokenizer.readable(index)
        return {"token": text, "id": index, "bytes": tokenizer.spelled(index).hex(), "nats": nats}

    def scores(one: TokenScore) -> dict[str, Any]:
        others = [token(*other) | {"probability": math.exp(-other[1])} for other in one.alternatives]
        extra = {"probability": math.exp(-one.nats), "rank": one.rank, "alternatives": others}
        return token(one.token, one.nats) | extra

    return {
        "title": scored.title,
        "nats": scored.nats,
        "nats_per_char": scored.nats / scored.characters,
        "characters": scored.characters,
        "in_training": seen,
        "tokens": [scores(one) for one in scored.tokens],
    }
