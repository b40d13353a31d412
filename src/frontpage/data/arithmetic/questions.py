"""Questions of arithmetic modulo a number, as text: `12 + 45 = 57`."""

from collections.abc import Callable

# By name: the sign, and the answer for two numbers modulo a third.
OPERATIONS: dict[str, tuple[str, Callable[[int, int, int], int]]] = {
    "plus": ("+", lambda first, second, modulus: (first + second) % modulus),
    "minus": ("-", lambda first, second, modulus: (first - second) % modulus),
    "times": ("*", lambda first, second, modulus: first * second % modulus),
    "divided": ("/", lambda first, second, modulus: first * pow(second, -1, modulus) % modulus),
}


COMMUTATIVE = ("plus", "times")


def all_questions(operation: str, modulus: int) -> list[tuple[str, ...]]:
    """Every pair of numbers below `modulus` with its answer; nothing is divided by zero.

    Texts that ask the same stand together: `12 + 45 = 57` and `45 + 12 = 57`. Raises ValueError where a number has no
    inverse: `divided` wants a prime modulus.
    """
    sign, answer = OPERATIONS[operation]
    asked: dict[tuple[int, int], list[str]] = {}
    for first in range(modulus):
        for second in range(1 if operation == "divided" else 0, modulus):
            pair = (min(first, second), max(first, second)) if operation in COMMUTATIVE else (first, second)
            asked.setdefault(pair, []).append(f"{first} {sign} {second} = {answer(first, second, modulus)}")
    return [tuple(texts) for texts in asked.values()]
