"""The embedded corpus: rules for Hacker-News-style titles, written for this project with invented names.

What a model has to learn besides spelling: a topic fixes the nouns, verbs, tools and product names of a title; "is"
and "are" agree with their subject; a library belongs to its language; a funding round bounds its amount.
Each title has exactly one derivation: a noun belongs to one topic, and each template of a topic names one of its words.
"""

import functools
import re
from collections.abc import Iterable

from frontpage.data.grammar.grammar import Grammar
from frontpage.data.grammar.title_templates import GROUPS, LANGUAGE_RULES, RULES, TOPIC_RULES, Alternatives
from frontpage.data.grammar.title_words import LANGUAGES, NUMBERS, TOPICS, WORDS

# How a word is read decides between "a" and "an", not how it is written.
READ_WITH_VOWEL = tuple("nginx SQLite XGBoost LLVM FPGA RSS ESP32 a e i o u A E I O".split())
READ_WITH_CONSONANT = ("uni", "use")


def _split(text: str) -> list[str]:
    return [" ".join(part.split()) for part in re.split(r",\s", text)]


def _by_rank(options: Iterable[int | str]) -> Alternatives:
    """Weigh options by rank, with a division, because powers and logarithms differ between platforms."""
    return [(1 / (rank + 10), str(option)) for rank, option in enumerate(options)]


def _with_article(words: str) -> str:
    vowel = words.startswith(READ_WITH_VOWEL) and not words.startswith(READ_WITH_CONSONANT)
    return f"{'an' if vowel else 'a'} {words}"


def _plural(words: str) -> str:
    if words.endswith(("s", "x", "ch")):
        return words + "es"
    return re.sub(r"([^aeiou])y$", r"\1ie", words) + "s"


def _forms(verb: str) -> list[str]:
    stem = verb.removesuffix("e")
    return verb.split("/") if "/" in verb else [verb, f"{stem}ing", f"{stem}ed"]


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]


def _rules_of(owner: str, lists: dict[str, list[str]], templates: dict[str, Alternatives]) -> dict[str, Alternatives]:
    """Name the rules of one topic or language after it, and let the leading dots of its templates mean it."""
    rules = {f"{owner}.{name}": _by_rank(options) for name, options in lists.items()}
    for name, alternatives in templates.items():
        rules[f"{owner}.{name}"] = [(weight, text.replace("{.", f"{{{owner}.")) for weight, text in alternatives]
    return rules


def _rules_of_topic(topic: str) -> dict[str, Alternatives]:
    tools, endings, things, matters, verbs = (_split(part.strip()) for part in TOPICS[topic].split("|"))
    lists = {"tool": tools, "ending": endings, "thing": things, "matter": matters}
    lists["verb"], lists["verbing"], lists["past"] = map(list, zip(*map(_forms, verbs), strict=True))
    lists["things"] = [_plural(thing) for thing in things]
    lists |= {f"a_{name}": [_with_article(words) for words in lists[name]] for name in ("tool", "thing")}
    lists |= {name.capitalize(): [_capital(words) for words in lists[name]] for name in ("matter", "verb", "verbing")}
    return _rules_of(topic, lists, TOPIC_RULES)


def _all_rules() -> dict[str, Alternatives]:
    rules = RULES | {name: _by_rank(_split(text)) for name, text in WORDS.items()}
    rules |= {name: _by_rank(options) for name, options in NUMBERS.items()}
    rules["an_adjective"] = [(weight, _with_article(words)) for weight, words in rules["adjective"]]
    rules["An_adjective"] = [(weight, _capital(words)) for weight, words in rules["an_adjective"]]
    for topic in TOPICS:
        rules |= _rules_of_topic(topic)
    for language, packages in LANGUAGES.items():
        others = [other for other in LANGUAGES if other != language]
        lists = {"name": [language], "package": _split(packages), "other": others}
        rules |= _rules_of(language, lists, LANGUAGE_RULES)
    for group, name in re.findall(rf"{{({'|'.join(GROUPS)})\.(\w+)}}", str([RULES, TOPIC_RULES, LANGUAGE_RULES])):
        rules[f"{group}.{name}"] = [(weight, f"{{{member}.{name}}}") for weight, member in _by_rank(GROUPS[group])]
    return rules


TITLE_RULES = _all_rules()


@functools.cache
def title_grammar() -> Grammar:
    """Return the grammar of the embedded corpus, built on the first call."""
    return Grammar(TITLE_RULES)
