"""Promises of the classes of texts: words are whole, languages apart, classes as large as each other."""

import pytest
import torch

from frontpage.data.grammar.title_rules import title_grammar
from frontpage.training.probes.classes import TooFew, balanced, members
from frontpage.training.probes.concepts import BIBLE, TITLES, check_concepts, concepts_in
from frontpage.training.probes.texts import ProbeText, drawn

TWO = {"web": ["web", "c++", "Open Source"], "law": {"en": ["law"], "de": ["Gesetz", "STRASSE"]}}


@pytest.mark.parametrize(
    ("text", "language", "found"),
    [
        ("The WEB is", None, ["web"]),
        ("Webs, spiderweb and web_page", None, []),
        ("web-page (web)", None, ["web"]),
        ("I like C++.", None, ["web"]),
        ("open\n source wins", None, ["web"]),
        ("opensource", None, []),
        ("a law on the web", "en", ["web", "law"]),
        ("das Gesetz", "de", ["law"]),
        ("das Gesetz", "en", []),
        ("das Gesetz", None, ["law"]),
        ("law", "de", []),
        ("die Straße", "de", ["law"]),  # folded: ß is ss
        ("law", "fr", []),
        ("", None, []),
    ],
)
def test_words_are_whole_in_any_case_and_of_their_language(text, language, found):
    assert concepts_in(text, language, TWO) == found


def test_letters_with_marks_are_the_same_however_they_are_written():
    assert concepts_in("Scho\u0308pfung", "de", BIBLE) == ["creation"]


@pytest.mark.parametrize("concepts", [TITLES, BIBLE])
def test_the_concepts_that_are_given_are_in_order(concepts):
    check_concepts(concepts)
    assert len(concepts) == 4


def test_the_grammar_speaks_of_the_titles_concepts():
    texts = [ProbeText(title) for title in title_grammar().sample(2000, seed=3)]
    found = members(texts, "concepts", TITLES, "drop")
    assert min(map(len, found.values())) >= 20


@pytest.mark.parametrize(
    "concepts",
    [{"a": ["x"]}, {}, "x", {"a": ["x"], "b": []}, {"a": ["x"], "b": "word"}, {"a": ["x"], "b": [" "]}]
    + [{"a": ["x"], "b": {}}, {"a": ["x"], "b": {"en": "word"}}, {"a": ["x"], "b": [3]}],
)
def test_concepts_without_words_are_refused(concepts):
    with pytest.raises(ValueError, match="concepts"):
        check_concepts(concepts)


TEXTS = [ProbeText(text, language, book) for text, language, book in [
    ("web", "en", "A"), ("law", "en", "A"), ("law of the web", "en", "B"), ("web again", "en", "B"), ("none", "de", "A")
]]  # fmt: skip


def test_a_text_of_two_concepts_is_in_none_or_in_both():
    dropped, both = (members(TEXTS, "concepts", TWO, several) for several in ("drop", "repeat"))
    assert {name: [TEXTS.index(one) for one in some] for name, some in dropped.items()} == {"web": [0, 3], "law": [1]}
    assert {name: [TEXTS.index(one) for one in some] for name, some in both.items()} == {
        "web": [0, 2, 3],
        "law": [1, 2],
    }


def test_books_and_languages_are_classes_too():
    assert {name: len(some) for name, some in members(TEXTS, "book", {}, "drop").items()} == {"A": 3, "B": 2}
    assert {name: len(some) for name, some in members(TEXTS, "language", {}, "drop").items()} == {"en": 4, "de": 1}


def test_classes_are_as_large_as_each_other_and_small_ones_are_left_out():
    found = {name: [ProbeText(f"{name}{n}") for n in range(size)] for name, size in dict(a=50, b=20, c=3, d=9).items()}
    chosen = balanced(found, count=60, least=9, seed=0)
    assert chosen.names == ["a", "b", "d"] and chosen.labels.tolist() == [0] * 9 + [1] * 9 + [2] * 9
    for name, label in zip(chosen.names, range(3), strict=True):
        own = [text for text, one in zip(chosen.texts, chosen.labels.tolist(), strict=True) if one == label]
        assert len({*own}) == 9 and {*own} <= {*found[name]}
    assert len(balanced(found, count=12, least=9, seed=0).texts) == 12
    assert balanced(found, 60, 9, seed=0).texts != balanced(found, 60, 9, seed=1).texts
    with pytest.raises(TooFew, match="a 50, b 20, c 3, d 9"):
        balanced(found, 60, 30, seed=0)


def test_a_draw_is_the_same_each_time_and_keeps_the_order():
    before = torch.get_rng_state()
    assert drawn(range(100), 10, seed=4) == drawn(range(100), 10, seed=4) == sorted({*drawn(range(100), 10, seed=4)})
    assert drawn(range(100), 10, seed=4) != drawn(range(100), 10, seed=5) and drawn(range(5), 10, 0) == [*range(5)]
    assert torch.equal(before, torch.get_rng_state())
