"""Probabilistic context-free grammars over strings: sampling, exact probabilities, ambiguity."""

import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, islice

import numpy as np

Rules = Mapping[str, Sequence[tuple[float, str]]]
Expansion = tuple[str | int, ...]  # a string is literal text, a number is the rule with that index
Spans = dict[int, tuple[float, int]]  # where a match ends -> (log probability, number of derivations)


class Grammar:
    """A probabilistic context-free grammar whose expansions are templates.

    ``rules`` maps a name to its alternatives, pairs of a positive weight and a template. In a template, ``{name}``
    stands for the rule of that name and all else is literal text (so braces cannot be literal). An alternative's
    probability is its weight divided by the sum of its rule's weights; choices are independent.
    Recursion is allowed where it ends with probability 1; sampling does not return otherwise.

    >>> toy = Grammar({"title": [(3, "Show HN: {thing}"), (1, "{thing}s")], "thing": [(1, "cat"), (1, "dog")]})
    >>> round(math.exp(toy.log_prob("Show HN: cat")), 6), toy.derivations("cats"), toy.log_prob("a cat")
    (0.375, 1, -inf)

    Raises ValueError for an undefined rule, a rule without alternatives, a stray brace, a weight that is not a
    positive finite number, and left recursion (which the top-down matcher could not survive).
    """

    def __init__(self, rules: Rules, start: str = "title") -> None:
        self._names = list(rules)
        index = {name: number for number, name in enumerate(self._names)}
        if start not in index:
            raise ValueError(f"the start rule {start!r} is not defined")
        self._start = index[start]
        self._expansions: list[list[Expansion]] = []
        self._log_weights: list[list[float]] = []
        self._cumulative: list[list[float]] = []
        for name, alternatives in rules.items():
            if not alternatives:
                raise ValueError(f"rule {name!r} has no alternatives")
            for weight, template in alternatives:
                if not 0 < weight < math.inf:
                    raise ValueError(f"rule {name!r}: the weight of {template!r} is {weight}, not a positive number")
            cumulative = list(accumulate(float(weight) for weight, _ in alternatives))
            total = cumulative[-1]
            self._expansions.append([_parse(name, template, index) for _, template in alternatives])
            self._log_weights.append([math.log(weight / total) for weight, _ in alternatives])
            self._cumulative.append([partial / total for partial in cumulative])  # ends in exactly 1
        self._candidates = self._index_by_first_character()

    def sample(self, count: int, seed: int) -> list[str]:
        """Draw ``count`` independent titles; the same seed gives the same titles on every platform."""
        return [*islice(self.draws(seed), count)]

    def draws(self, seed: int) -> Iterator[str]:
        """The titles of ``sample`` without end, one after another."""
        uniforms = _uniforms(seed)
        while True:
            yield self._draw(uniforms)

    def log_prob(self, title: str) -> float:
        """Return the exact probability of ``title``, summed over its derivations, as a natural logarithm.

        The unit is nats; ``-inf`` where the grammar cannot produce the string.
        """
        return self._inside(title)[0]

    def derivations(self, title: str) -> int:
        """Count the derivations of ``title``: 0 where the grammar cannot produce it, more than 1 where ambiguous."""
        return self._inside(title)[1]

    def _draw(self, uniforms: Iterator[float]) -> str:
        pieces: list[str] = []
        pending: list[str | int] = [self._start]
        while pending:
            symbol = pending.pop()
            if isinstance(symbol, str):
                pieces.append(symbol)
            else:
                choice = bisect_right(self._cumulative[symbol], next(uniforms))
                pending.extend(reversed(self._expansions[symbol][choice]))
        return "".join(pieces)

    def _inside(self, title: str) -> tuple[float, int]:
        """Return the log of the inside probability of the whole title, and its number of derivations."""
        memo: dict[tuple[int, int], Spans] = {}

        def match_rule(rule: int, begin: int) -> Spans:
            spans = memo.get((rule, begin))
            if spans is None:
                spans = memo[rule, begin] = {}
                by_character = self._candidates[rule]
                for log_weight, expansion in by_character.get(title[begin : begin + 1], by_character[""]):
                    for end, (log_prob, count) in match_expansion(expansion, begin, log_weight).items():
                        _add(spans, end, log_prob, count)
            return spans

        def match_expansion(expansion: Expansion, begin: int, log_weight: float) -> Spans:
            reached: Spans = {begin: (log_weight, 1)}
            for symbol in expansion:
                extended: Spans = {}
                for middle, (log_prob, count) in reached.items():
                    if isinstance(symbol, str):
                        if title.startswith(symbol, middle):
                            _add(extended, middle + len(symbol), log_prob, count)
                    else:
                        for end, (more_log_prob, more_count) in match_rule(symbol, middle).items():
                            _add(extended, end, log_prob + more_log_prob, count * more_count)
                reached = extended
                if not reached:
                    break
            return reached

        return match_rule(self._start, 0).get(len(title), (-math.inf, 0))

    def _index_by_first_character(self) -> list[dict[str, list[tuple[float, Expansion]]]]:
        """List for each rule and next character the alternatives worth trying, which makes matching fast.

        The entry "" holds the alternatives that can be empty; they are also tried whatever the next character is.
        Raises ValueError where finding out what a rule can begin with needs the answer itself: left recursion.
        """
        known: dict[int, set[str]] = {}
        open_rules: list[int] = []

        def starts_of_rule(rule: int) -> set[str]:
            if rule not in known:
                if rule in open_rules:
                    cycle = " -> ".join(self._names[number] for number in [*open_rules, rule])
                    raise ValueError(f"left recursion: {cycle}")
                open_rules.append(rule)
                known[rule] = set().union(*(starts_of_expansion(one) for one in self._expansions[rule]))
                open_rules.pop()
            return known[rule]

        def starts_of_expansion(expansion: Expansion) -> set[str]:
            starts = {""}  # "" means that everything so far can be empty, so the next symbol counts too
            for symbol in expansion:
                starts.remove("")
                starts |= {symbol[0]} if isinstance(symbol, str) else starts_of_rule(symbol)
                if "" not in starts:
                    break
            return starts

        candidates: list[dict[str, list[tuple[float, Expansion]]]] = []
        for rule, expansions in enumerate(self._expansions):
            by_character = {character: [] for character in starts_of_rule(rule) | {""}}
            for log_weight, expansion in zip(self._log_weights[rule], expansions, strict=True):
                starts = starts_of_expansion(expansion)
                for character in by_character if "" in starts else starts:
                    by_character[character].append((log_weight, expansion))
            candidates.append(by_character)
        return candidates


def _parse(name: str, template: str, index: Mapping[str, int]) -> Expansion:
    """Cut a template into literal text and rule indices."""
    expansion: list[str | int] = []
    for position, piece in enumerate(re.split(r"\{([^{}]*)\}", template)):
        if position % 2:
            if piece not in index:
                raise ValueError(f"rule {name!r} refers to {piece!r} in {template!r}, which is not defined")
            expansion.append(index[piece])
        elif "{" in piece or "}" in piece:
            raise ValueError(f"rule {name!r} has a stray brace in {template!r}")
        elif piece:
            expansion.append(piece)
    return tuple(expansion)


def _uniforms(seed: int) -> Iterator[float]:
    """Yield uniform numbers in [0, 1), drawn in blocks because single draws are slow."""
    generator = np.random.default_rng(seed)
    while True:
        yield from generator.random(4096).tolist()


def _add(spans: Spans, end: int, log_prob: float, count: int) -> None:
    """Add a match to those ending at the same place; in logarithms, so that long titles cannot underflow."""
    if end in spans:
        other_log_prob, other_count = spans[end]
        low, high = sorted((log_prob, other_log_prob))
        spans[end] = (high + math.log1p(math.exp(low - high)), count + other_count)
    else:
        spans[end] = (log_prob, count)
