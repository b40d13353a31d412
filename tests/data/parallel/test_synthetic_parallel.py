"""The generated corpus can be trusted: its probabilities are exact, and its tasks can be solved as well as it says."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from frontpage.command.errors import BadValue
from frontpage.data.parallel.respelling import CONSONANTS, VOWELS, inverse, respell, respellings
from frontpage.data.parallel.synthetic_text import best_coherence, chance_of_same_place, log_prob, synthetic_parallel
from frontpage.data.parallel.verse_grammar import VerseGrammar
from frontpage.data.parallel.verse_words import ENTITIES, TEMPLATES, THEMES, WORDS

SIZES = {"books": 6, "chapters": 4, "verses": 5, "translations": 3}
PINNED = [
    "SALOME lost the stone and thanked LIDIA near the harbor .",
    "SALOME qatx xwe txahe ohb xwohjeb LIDIA heov xwe wovyav .",
    "SALOME vahk kfu hkagu igx kfigyux LIDIA guin kfu finsan .",
]
PINNED_NATS = 60.935950397130284
REDUCED = VerseGrammar(
    entities=["ann", "bob", "cid"],
    themes=[["cat"], ["dog", "hound"]],
    words={"verb": ["saw", "fed"], "place": ["inn", "sea"]},
    templates=[(3, "{known} {verb} the {theme} of {met} at {place}"), (1, "at {place} of {met} {known} the {theme} .")],
    counts=range(1, 3),
)


@pytest.fixture(scope="module")
def text():
    return synthetic_parallel(**SIZES, seed=3)


def enumerated():
    """Every chapter of the reduced grammar as (text, probability), spelled out by hand."""
    verses = []  # (known, met, place, text, probability given known and place)
    for known, met in itertools.permutations(["ann", "bob", "cid"], 2):
        for place in ("inn", "sea"):
            for theme, share in (("cat", 1 / 2), ("dog", 1 / 2 * 3 / 5), ("hound", 1 / 2 * 2 / 5)):
                verses.append((known, met, place, f"at {place} of {met} {known} the {theme} .", 1 / 2 * 1 / 4 * share))
                for verb, weight in (("saw", 3 / 5), ("fed", 2 / 5)):
                    line = f"{known} {verb} the {theme} of {met} at {place}"
                    verses.append((known, met, place, line, 1 / 2 * 3 / 4 * share * weight))
    settings = {"inn": 3 / 5, "sea": 2 / 5}
    for _, met, place, line, probability in verses:
        yield line, 1 / 2 * 1 / 3 * settings[place] * probability
        for known, _, there, second, chance in verses:
            if known == met and there == place:
                yield f"{line}\n{second}", 1 / 2 * 1 / 3 * settings[place] * probability * chance


def test_the_probabilities_of_a_reduced_grammar_sum_to_one_and_are_those_by_hand():
    expected = dict(enumerated())
    assert sum(expected.values()) == pytest.approx(1, abs=1e-12)
    for chapter, probability in expected.items():
        assert REDUCED.log_prob(chapter) == pytest.approx(math.log(probability), abs=1e-12)
    assert math.fsum(math.exp(REDUCED.log_prob(chapter)) for chapter in expected) == pytest.approx(1, abs=1e-12)


@pytest.mark.slow
def test_what_is_drawn_has_the_frequencies_that_its_nats_say():
    expected, draws = dict(enumerated()), 20_000
    uniforms = iter(np.random.default_rng(0).random(20 * draws).tolist())
    drawn = [REDUCED.draw_chapter(uniforms) for _ in range(draws)]
    for chapter in drawn[:500]:
        assert math.exp(-chapter.nats) == pytest.approx(expected["\n".join(chapter.verses)], rel=1e-12)
    counts = Counter("\n".join(chapter.verses) for chapter in drawn)
    assert counts.keys() <= expected.keys()
    chi_square = sum((counts[one] - draws * chance) ** 2 / (draws * chance) for one, chance in expected.items())
    freedom = len(expected) - 1
    assert abs(chi_square - freedom) < 5 * math.sqrt(2 * freedom)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"entities": ["ann"]}, "two entities"),
        ({"entities": ["ann", "the"]}, "stand twice.*the"),
        ({"themes": [["cat"], ["saw"]]}, "stand twice.*saw"),
        ({"templates": [(1, "{known} {theme} {met} {place}"), (2, "{known} {theme} {met} {place}")]}, "one form"),
        ({"templates": [(1, "{known} {theme} {met}")]}, "needs known, met, place and theme"),
        ({"templates": [(1, "{known} {theme} {theme} {met} {place}")]}, "each slot once"),
    ],
)
def test_a_grammar_that_could_be_read_in_two_ways_is_refused(changed, words):
    parts = {name: getattr(REDUCED, name) for name in ("entities", "themes", "words", "templates", "counts")}
    with pytest.raises(ValueError, match=words):
        VerseGrammar(**parts | changed)


def test_least_nats_are_what_the_text_alone_tells(text):
    for name in text.texts:
        nats = [-log_prob(text.document(name, units), name, verses=5, translations=3) for units in text.documents()]
        np.testing.assert_allclose(text.least_nats[name], nats, rtol=0, atol=1e-9)


def test_the_nats_of_one_chapter_by_hand():
    chapter = """TOBIAS found the lamp near the cave and helped MIRIAM .
MIRIAM helped FELIX and sold the fig under the cave ."""
    ranks = {"verb": 12, "preposition": 8, "place": 12, "meet": 8}
    assert ranks == {name: len(words) for name, words in WORDS.items()} and (len(ENTITIES), len(THEMES)) == (12, 24)

    def chance(name, word):
        return 1 / (WORDS[name].index(word) + 2) / sum(1 / (rank + 2) for rank in range(ranks[name]))

    first = 4 / 10 * chance("verb", "found") * chance("preposition", "near")
    first *= chance("place", "cave") * chance("meet", "helped") / 12 / 11 / 24 * 2 / 5
    second = 1 / 10 * chance("verb", "sold") * chance("preposition", "under")
    second *= chance("meet", "helped") / 11 / 24 * 2 / 5
    expected = math.log(first * second / 3 / 4)  # two, three or four verses; four languages
    counts = {"verses": 2, "translations": 4}
    assert log_prob(chapter, "aa", **counts) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda lines: lines[:1],  # too few
        lambda lines: lines * 4,  # too many
        lambda lines: lines[::-1],  # no chain
        lambda lines: [lines[0].replace(".", ""), *lines[1:]],
        lambda lines: [lines[0] + " ", *lines[1:]],
        lambda lines: [lines[0].lower(), *lines[1:]],
        lambda lines: ["", *lines],
        lambda lines: [*lines, ""],
        lambda lines: [lines[0].replace("the", "a", 1), *lines[1:]],
    ],
)
def test_what_is_not_of_the_corpus_has_no_probability(text, spoil):
    lines = text.document("aa", text.documents()[0]).split("\n")
    assert log_prob("\n".join(lines), "aa", verses=5, translations=3) > -math.inf
    assert log_prob("\n".join(spoil(lines)), "aa", verses=5, translations=3) == -math.inf


def test_a_document_has_no_probability_in_another_language(text):
    units = text.documents()[0]
    for name, other in itertools.permutations(text.texts, 2):
        assert log_prob(text.document(name, units), other, verses=5, translations=3) == -math.inf
    assert log_prob(text.document("cc", units), "cc", verses=5, translations=2) == -math.inf
    assert log_prob("", "aa", verses=5, translations=3) == -math.inf


def test_a_chapter_stays_at_its_place():
    chapter = (
        "TOBIAS found the lamp near the cave and helped ELENA .\nELENA helped FELIX and sold the fig under the {} ."
    )
    assert log_prob(chapter.format("cave"), "aa", verses=2, translations=1) > -math.inf
    assert log_prob(chapter.format("barn"), "aa", verses=2, translations=1) == -math.inf


def test_nobody_meets_himself():
    chapter = "\n".join(f"{one} found the lamp near the cave and helped {{}} ." for one in ("TOBIAS", "ELENA"))
    assert log_prob(chapter.format("ELENA", "TOBIAS"), "aa", verses=2, translations=1) > -math.inf
    assert log_prob(chapter.format("ELENA", "ELENA"), "aa", verses=2, translations=1) == -math.inf


def test_languages_respell_letters_and_share_no_word_but_names():
    lists = [
        *THEMES,
        *WORDS.values(),
        [word for _, one in TEMPLATES for word in one.split() if word.isalpha()],
    ]
    words = tuple(dict.fromkeys(itertools.chain(*lists)))
    tables = respellings(words, 26)
    assert all(sorted(table) == sorted(table.values()) for table in tables)
    assert all(table[letter] in letters for table in tables for letters in (VOWELS, CONSONANTS) for letter in letters)
    vocabularies = [{respell(word, table) for word in words} for table in tables]
    assert vocabularies[0] == set(words)
    assert len(set().union(*vocabularies)) == 26 * len(words)
    assert all(respell(respell(word, table), inverse(table)) == word for table in tables for word in words)
    assert respellings(words, 3) == tables[:3]
    assert min(map(len, words)) >= 2 and 80 <= len(words) <= 100
    assert all(respell(name, table) == name for table in tables for name in ENTITIES)


def test_languages_that_must_share_a_word_are_refused():
    with pytest.raises(ValueError, match="share none"):
        respellings(tuple(VOWELS), 2)


def test_translations_say_the_same_in_words_of_their_own(text):
    words = {
        name: {word for line in lines for word in line.split() if len(word) > 1} - {*ENTITIES}
        for name, lines in text.texts.items()
    }
    assert not words["aa"] & words["bb"] and not words["aa"] & words["cc"] and not words["bb"] & words["cc"]
    lines = list(zip(*text.texts.values(), strict=True))
    for name, column in zip(text.texts, zip(*lines, strict=True), strict=True):
        pairs = {
            pair
            for mine, base in zip(column, text.texts["aa"], strict=True)
            for pair in zip(mine.split(), base.split(), strict=True)
        }
        assert len(pairs) == len({mine for mine, _ in pairs}) == len({base for _, base in pairs}), name


def test_verses_of_a_chapter_are_a_chain_and_links_are_all_pairs_of_a_theme(text):
    themes = {word: number for number, words in enumerate(THEMES) for word in words}
    of_unit = [next(themes[word] for word in line.split() if word in themes) for line in text.texts["aa"]]
    pairs = {(i, j) for j in range(len(of_unit)) for i in range(j) if of_unit[i] == of_unit[j]}
    assert set(map(tuple, text.links.tolist())) == pairs and len(text.links) == len(pairs) == len(text.votes)
    assert (text.votes == 1).all() and text.links.dtype == np.int64
    for units in text.documents():
        people = [[word for word in text.texts["aa"][unit].split() if word in ENTITIES] for unit in units]
        assert all(first[1] == second[0] for first, second in itertools.pairwise(people))


def test_the_corpus_has_the_shape_that_is_asked_for(text):
    assert len(text.documents()) == 24 and len(text.book_names) == 6 and list(np.unique(text.books)) == list(range(6))
    lengths = [len(units) for units in text.documents()]
    assert set(lengths) == {3, 4, 5, 6, 7}
    assert all(list(text.verses[units]) == list(range(1, len(units) + 1)) for units in text.documents())
    assert [text.chapters[units[0]] for units in text.documents()] == [1, 2, 3, 4] * 6
    assert text.books.dtype == text.chapters.dtype == text.verses.dtype == np.int32
    assert list(text.languages.items()) == [("aa", "aa"), ("bb", "bb"), ("cc", "cc")]


def test_a_seed_fixes_the_corpus_on_every_platform(text):
    again, other = synthetic_parallel(**SIZES, seed=3), synthetic_parallel(**SIZES, seed=4)
    assert again.texts == text.texts != other.texts
    # Written down once, so that another platform or another numpy is seen to draw the same.
    assert [lines[0] for lines in text.texts.values()] == PINNED
    assert text.least_nats["aa"][0] == pytest.approx(PINNED_NATS, abs=1e-9)


@pytest.mark.slow
def test_the_best_accuracy_of_coherence_is_reached_by_who_reads_the_chain_and_the_place():
    text = synthetic_parallel(books=60, chapters=8, verses=8, translations=1, seed=0)
    lines = [line.split() for line in text.texts["aa"]]
    people = [[word for word in line if word in ENTITIES] for line in lines]
    places = [next(word for word in line if word in WORDS["place"]) for line in lines]
    documents, generator = text.documents(), np.random.default_rng(1)
    errors = {"positive": [], "turned": [], "far": [], "other": []}
    following = [unit for units in documents for unit in units[:-1]]

    def chained(first, second):
        return people[first][1] == people[second][0] and places[first] == places[second]

    for _ in range(60_000):
        unit = following[generator.integers(len(following))]
        errors["positive"].append(not chained(unit, unit + 1))
        errors["turned"].append(chained(unit + 1, unit))
        first, second = generator.integers(len(people), size=2)
        if text.books[first] != text.books[second]:
            errors["other"].append(chained(first, second))
        elif abs(first - second) >= 3:
            errors["far"].append(chained(first, second))
    rate = {kind: float(np.mean(found)) for kind, found in errors.items()}
    assert rate["positive"] == 0 and rate["far"] >= rate["other"]
    best = best_coherence(12, chance_of_same_place())
    assert best == pytest.approx(1 - 0.5 * (0.25 * rate["turned"] + 0.75 * rate["other"]), abs=2e-3)
    assert text.best == {"coherence": best, "cross_reference": 1.0, "paraphrase": 1.0}
    weights = [1 / (rank + 2) for rank in range(12)]
    same = sum((weight / sum(weights)) ** 2 for weight in weights)
    assert best == pytest.approx(1 - 0.5 * (0.25 / 11 + 0.75 * same / 12), abs=1e-12)
    # Exact, with three entities: a pair turned round chains where the third of three is the first, one in two.
    assert best_coherence(3, 1.0, reversed_share=1.0) == 1 - 0.5 / 2
    assert best_coherence(3, 0.5, reversed_share=0.0) == 1 - 0.5 * 0.5 / 3


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"books": 0}, "data.books=0: a whole number of 1 or more"),
        ({"chapters": 0}, "data.chapters=0"),
        ({"verses": 1}, "data.verses=1: a whole number of 2 or more"),
        ({"verses": 2.5}, "data.verses=2.5"),
        ({"translations": 0}, "data.translations=0: a whole number from 1 to 26"),
        ({"translations": 27}, "data.translations=27"),
        ({"books": True}, "data.books=true"),
        ({"books": 5000}, "data.books=5000: .*passes 20000 verses"),
    ],
)
def test_sizes_out_of_range_are_refused(changed, words):
    with pytest.raises(BadValue, match=words):
        synthetic_parallel(**SIZES | changed, seed=0)
