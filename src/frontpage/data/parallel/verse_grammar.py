"""VerseGrammar: chapters of verses that form a chain, drawn with their exact probability, and scored again from text.

A verse tells of an entity, something (its theme) and an entity that is met; the next verse of the chapter tells of that
one, and all of a chapter happens in one place, which costs nothing to whoever read on. All other choices are
independent.
"""

import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

Weighted = Sequence[tuple[float, str]]
ENTITY_SLOTS = ("known", "met")
SETTING = "place"  # drawn once a chapter


@dataclass(frozen=True)
class Chapter:
    """A chapter as it was drawn."""

    verses: list[str]
    themes: list[int]  # of each verse
    nats: float  # minus the log of its probability


@dataclass(frozen=True)
class VerseGrammar:
    """What verses are made of; `counts` are the numbers of verses that a chapter may have, equally likely.

    Entities and themes are equally likely, an entity never meets itself, and of a list or a theme's words the one with
    rank r (from 0) has a weight of 1 / (r + 2). A template's `{name}` is a word of that list; `{known}`, `{met}`,
    `{place}` and `{theme}` are in each. Raises ValueError where a text could be read in two ways: a word that stands
    twice, or two templates of one form; and for templates that lack a slot or fewer than two entities.
    """

    entities: Sequence[str]
    themes: Sequence[Sequence[str]]
    words: Mapping[str, Sequence[str]]
    templates: Weighted
    counts: range

    def __post_init__(self) -> None:
        literal = {word for _, template in self.templates for word in template.split() if word[0] != "{"}
        listed = [*literal, *self.entities, *(word for one in (*self.themes, *self.words.values()) for word in one)]
        if len(set(listed)) < len(listed):
            raise ValueError(f"words that stand twice: {sorted({one for one in listed if listed.count(one) > 1})}")
        if len({template for _, template in self.templates}) < len(self.templates):
            raise ValueError("two templates are of one form")
        for _, template in self.templates:
            slots = _slots(template)
            if len(set(slots)) < len(slots) or not {*ENTITY_SLOTS, SETTING, "theme"} <= set(slots):
                raise ValueError(f"{template!r} needs known, met, place and theme, and each slot once")
        if len(self.entities) < 2:
            raise ValueError("two entities are needed: none meets itself")

    def draw_chapter(self, uniforms: Iterator[float]) -> Chapter:
        """Draw a chapter from numbers that are uniform in [0, 1)."""
        nats = math.log(len(self.counts))
        verses, themes = [], []
        known = met = -1
        setting, cost = _choose(next(uniforms), _weights(self.words[SETTING]))
        nats += cost
        for _ in range(self.counts[int(next(uniforms) * len(self.counts))]):
            if met < 0:
                known = int(next(uniforms) * len(self.entities))
                nats += math.log(len(self.entities))
            else:
                known = met
            other = int(next(uniforms) * (len(self.entities) - 1))  # one of all but the known one
            met = other + (other >= known)
            theme = int(next(uniforms) * len(self.themes))
            nats += math.log(len(self.entities) - 1) + math.log(len(self.themes))
            drawn = {"known": self.entities[known], "met": self.entities[met], SETTING: self.words[SETTING][setting]}
            choice, cost = _choose(next(uniforms), [weight for weight, _ in self.templates])
            template = self.templates[choice][1]
            nats += cost
            for slot in _slots(template):
                if slot not in drawn:
                    options = self.themes[theme] if slot == "theme" else self.words[slot]
                    choice, cost = _choose(next(uniforms), _weights(options))
                    drawn[slot] = options[choice]
                    nats += cost
            verses.append(template.format(**drawn))
            themes.append(theme)
        return Chapter(verses, themes, nats)

    def log_prob(self, chapter: str) -> float:
        """Natural logarithm of the probability of a chapter, a verse a line; -inf where it cannot be drawn.

        It is found from the text alone: the template that a verse has the form of gives the word in each slot.
        """
        verses = chapter.split("\n")
        if len(verses) not in self.counts:
            return -math.inf
        total = -math.log(len(self.counts))
        expected = setting = None
        for verse in verses:
            matches = ((weight, form.fullmatch(verse)) for weight, form in self._forms)
            weight, found = next(((weight, found) for weight, found in matches if found), (0.0, None))
            if found is None:
                return -math.inf
            words = found.groupdict()
            if words["known"] == words["met"] or expected not in (None, words["known"]):
                return -math.inf
            if setting not in (None, words[SETTING]):
                return -math.inf
            total += math.log(weight / sum(weight for weight, _ in self.templates))
            total -= math.log(len(self.entities) - 1)
            total -= math.log(len(self.entities)) if expected is None else 0.0
            total += self._log_probs[SETTING][words[SETTING]] if setting is None else 0.0
            free = ((slot, word) for slot, word in words.items() if slot not in (*ENTITY_SLOTS, SETTING))
            total += math.fsum(self._log_probs[slot][word] for slot, word in free)
            expected, setting = words["met"], words[SETTING]
        return total

    @cached_property
    def _log_probs(self) -> dict[str, dict[str, float]]:
        """Slot -> word -> log probability; of a theme's word, with the choice of the theme."""
        found = {slot: _spread(options, 1.0) for slot, options in self.words.items()}
        found["theme"] = {
            word: value for options in self.themes for word, value in _spread(options, len(self.themes)).items()
        }
        return found

    @cached_property
    def _forms(self) -> list[tuple[float, re.Pattern[str]]]:
        choices = {slot: list(options) for slot, options in self._log_probs.items()}
        choices |= dict.fromkeys(ENTITY_SLOTS, list(self.entities))
        groups = {slot: f"(?P<{slot}>{'|'.join(map(re.escape, options))})" for slot, options in choices.items()}
        forms = []
        for weight, template in self.templates:
            pieces = re.split(r"\{(\w+)\}", template)
            pattern = "".join(groups[one] if odd % 2 else re.escape(one) for odd, one in enumerate(pieces))
            forms.append((weight, re.compile(pattern)))
        return forms


def _slots(template: str) -> list[str]:
    return re.findall(r"\{(\w+)\}", template)


def _weights(options: Sequence[str]) -> list[float]:
    """By rank, with a division, because powers and logarithms differ between platforms."""
    return [1 / (rank + 2) for rank in range(len(options))]


def _choose(uniform: float, weights: Sequence[float]) -> tuple[int, float]:
    """Which of the options a uniform number chooses, and the nats of that choice."""
    cumulative = list(accumulate(float(weight) for weight in weights))
    choice = bisect_right([one / cumulative[-1] for one in cumulative], uniform)  # ends in exactly 1
    return choice, math.log(cumulative[-1] / weights[choice])


def _spread(options: Sequence[str], parts: float) -> dict[str, float]:
    """The log probability of each option, of which there are as many lists as `parts`, equally likely."""
    weights = _weights(options)
    return {word: math.log(one / math.fsum(weights) / parts) for word, one in zip(options, weights, strict=True)}
