"""Concepts that texts speak of, told by their words."""

import functools
import re
import unicodedata
from collections.abc import Mapping, Sequence

Words = Sequence[str] | Mapping[str, Sequence[str]]  # of a concept: of every language, or of each by its name

TITLES: dict[str, Words] = {
    "ai": (
        "ai,gpt,llm,llms,openai,chatgpt,chatbot,chatbots,machine learning,deep learning,neural,transformers,"
        "classifiers,gradient descent,overfitting"
    ).split(","),
    "programming": "python,rust,javascript,java,haskell,golang,ruby,lisp,elixir,zig,c++,compiler,compilers".split(","),
    "security": (
        "security,vulnerability,vulnerabilities,malware,encryption,hacked,hackers,breach,passwords,spam,cve"
    ).split(","),
    "space": (
        "nasa,spacex,rocket,rockets,mars,moon,satellite,satellites,telescope,telescopes,astronomers,rover,dark matter,"
        "space station"
    ).split(","),
}
BIBLE: dict[str, Words] = {
    "salvation": {
        "en": ["salvation", "saviour", "savior", "save", "saved", "redeemer", "redemption", "deliverance"],
        "de": ["heil", "heiland", "retter", "rettung", "retten", "errettet", "erlöst", "erlösung"],
    },
    "creation": {
        "en": ["creation", "creator", "create", "created", "creature", "creatures"],
        "de": ["schöpfung", "schöpfer", "schuf", "geschaffen", "erschaffen", "geschöpf"],
    },
    "covenant": {"en": ["covenant", "covenants", "testament"], "de": ["bund", "bundes", "bündnis"]},
    "judgement": {
        "en": ["judgement", "judgment", "judgments", "judge", "judges", "judged"],
        "de": ["gericht", "gerichte", "gerichts", "richter", "richten", "gerichtet"],
    },
}


def concepts_in(text: str, language: str | None, concepts: Mapping[str, Words]) -> list[str]:
    """The concepts of which a text has a word, whole and in any case, in their order.

    A concept that names languages has its words in those alone; a text of unknown language is searched for all. In a
    script without blanks no word is whole.
    """
    folded = _folded(text)
    return [name for name, words in concepts.items() if _pattern(tuple(_words(words, language))).search(folded)]


def check_concepts(concepts: object) -> None:
    """Raise ValueError for anything but at least two names, each with words, or with words by languages."""
    if not isinstance(concepts, Mapping) or len(concepts) < 2:
        raise ValueError(f"concepts={concepts}: at least 2 names, each with a list of words")
    for name, words in concepts.items():
        lists = list(words.values()) if isinstance(words, Mapping) else [words]
        if not lists or not all(_is_words(one) for one in lists):
            raise ValueError(f"concepts.{name}={words}: a list of words, or one for each language")


def _is_words(words: object) -> bool:
    """Whether it is a list of texts that are not blank."""
    listed = isinstance(words, Sequence) and not isinstance(words, str) and len(words) > 0
    return listed and all(isinstance(one, str) and one.strip() for one in words)


def _words(words: Words, language: str | None) -> list[str]:
    if not isinstance(words, Mapping):
        return list(words)
    return [word for name, some in words.items() if language in (None, name) for word in some]


@functools.cache
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    """Any of the words with no letter, digit or underscore beside it."""
    spelled = (r"\s+".join(map(re.escape, _folded(word).split())) for word in words)
    return re.compile(rf"(?<!\w)(?:{'|'.join(spelled) or '(?!)'})(?!\w)")


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
