"""Promises of the examples of every task: what is positive is, what is negative is not, and both are as often."""

import re

import numpy as np
import pytest
import torch
from tiny import options

from frontpage.command.build import build
from frontpage.command.errors import UserError
from frontpage.data.packing import rows_of
from frontpage.data.parallel.examples import Examples, PairBatch
from frontpage.data.parallel.side import Side
from frontpage.data.parallel.split import split_books
from frontpage.data.parallel.synthetic_text import synthetic_parallel
from frontpage.data.parallel.text import ParallelText
from frontpage.recipe.tasks.coherence import APART, Coherence
from frontpage.recipe.tasks.cross_reference import FALLBACK, CrossReference
from frontpage.recipe.tasks.paraphrase import NEAR, Paraphrase
from frontpage.recipe.tasks.task import halves

COUNT = 400


@pytest.fixture(scope="module")
def sides():
    """Both sides of a generated corpus in which each translation lacks some units."""
    text = synthetic_parallel(books=8, chapters=4, verses=6, translations=3, seed=3)
    draws = np.random.default_rng(0)
    for of in text.texts.values():
        for unit in draws.choice(len(of), len(of) // 10, replace=False):
            of[unit] = None
    split = split_books(text, 0.3, 1)
    return [
        Side(text, units, text.links[links], text.votes[links])
        for units, links in ((split.train_units, split.train_links), (split.validation_units, split.validation_links))
    ]


@pytest.fixture(params=[0, 1], ids=["train", "validation"])
def side(sides, request):
    return sides[request.param]


def tasks():
    return {
        "coherence": Coherence(weight=1.0),
        "cross_reference": CrossReference(weight=1.0, distance=5),
        "paraphrase": Paraphrase(weight=1.0),
    }


@pytest.mark.parametrize("name", tasks())
def test_examples_hold_texts_that_exist_and_are_a_function_of_the_draws(name, side):
    task = tasks()[name]
    task.check(side, f"tasks.{name}")
    found, again = (task.draw(side, COUNT, np.random.default_rng(7)) for _ in range(2))
    assert found.places.shape == found.translations.shape == (COUNT, task.members) and len(found.labels) == COUNT
    assert side.has[found.translations, found.places].all()
    assert all((one == other).all() for one, other in zip(found, again, strict=True))
    assert (found.places != task.draw(side, COUNT, np.random.default_rng(8)).places).any()


@pytest.mark.parametrize("name", ["coherence", "paraphrase"])
@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_half_of_the_labels_are_positive(name, count, side):
    for seed in range(8):
        labels = tasks()[name].draw(side, count, np.random.default_rng(seed)).labels
        assert labels.sum() in (count // 2, (count + 1) // 2) and set(labels) <= {0.0, 1.0}


def test_an_odd_label_is_either():
    draws = np.random.default_rng(0)
    assert {halves(1, draws)[0] for _ in range(20)} == {0.0, 1.0}


def test_positives_of_coherence_are_consecutive_and_negatives_never_adjacent(side):
    found = tasks()["coherence"].draw(side, COUNT, np.random.default_rng(0))
    (first, second), label = found.places.T, found.labels.astype(bool)
    steps = side.units[second] - side.units[first]
    same_book = side.books[first] == side.books[second]
    assert (found.translations[:, 0] == found.translations[:, 1]).all()
    assert (steps[label] == 1).all() and same_book[label].all()
    assert (side.chapters[first] == side.chapters[second])[label].all()
    assert not (same_book & (steps == 1))[~label].any()
    turned, far = same_book & (steps == -1), same_book & (abs(steps) >= APART)
    assert (turned | far | ~same_book)[~label].all()
    shares = [part[~label].mean() for part in (turned, far, ~same_book)]
    assert shares == pytest.approx([0.25, 0.25, 0.5], abs=0.09)


@pytest.mark.parametrize(("hard", "other_books"), [(0.0, 1.0), (1.0, 0.0)])
def test_hard_is_the_share_of_negatives_in_the_same_book(hard, other_books, side):
    found = Coherence(weight=1.0, hard=hard).draw(side, COUNT, np.random.default_rng(0))
    negative = side.books[found.places[found.labels == 0]]
    assert (negative[:, 0] != negative[:, 1]).mean() == other_books


def test_with_one_book_all_negatives_are_of_it(capsys):
    side, task = whole(handmade(books=np.zeros(40, dtype=np.int32), book_names=["one"])), Coherence(weight=1.0)
    task.check(side, "tasks.x")
    assert "tasks.x.hard=0.5: one side has a single book" in capsys.readouterr().out
    found = task.draw(side, COUNT, np.random.default_rng(0))
    steps = np.diff(found.places[found.labels == 0])
    assert ((steps == -1) | (abs(steps) >= APART)).all()


def test_an_anchor_its_link_and_a_stranger(side):
    found = CrossReference(weight=1.0, distance=5).draw(side, COUNT, np.random.default_rng(0))
    assert (found.translations == found.translations[:, :1]).all()
    for anchor, positive, negative in found.places.tolist():
        assert positive in side.links_of(anchor)[0] and anchor in side.links_of(positive)[0] and anchor != positive
        assert negative not in side.links_of(anchor)[0] and anchor != negative
        assert abs(side.units[negative] - side.units[anchor]) >= 5


def handmade(**more):
    """Two books of two chapters of ten units, in two translations."""
    units = 40
    texts = {name: [f"{name} {unit}" for unit in range(units)] for name in ("xx", "yy")}
    fields = {
        "source": "by hand",
        "books": np.repeat([0, 1], 20).astype(np.int32),
        "chapters": np.tile(np.repeat([1, 2], 10), 2).astype(np.int32),
        "verses": np.tile(np.arange(1, 11), 4).astype(np.int32),
        "book_names": ["one", "two"],
        "texts": texts,
        "languages": {name: name for name in texts},
        "links": np.zeros((0, 2), dtype=np.int64),
        "votes": np.zeros(0),
    }
    return ParallelText(**fields | more)


def whole(text):
    return Side(text, np.arange(len(text.books)), text.links, text.votes)


def test_links_are_drawn_by_their_votes_in_both_directions():
    side = whole(handmade(links=np.array([[0, 15], [0, 30], [5, 30]]), votes=np.array([9.0, 1.0, 1.0])))
    found = CrossReference(weight=1.0, distance=1).draw(side, 3000, np.random.default_rng(0)).places
    assert set(found[:, 0]) == {0, 5, 15, 30}
    of_first = found[found[:, 0] == 0, 1]
    assert (of_first == 15).mean() == pytest.approx(0.9, abs=0.03)
    assert set(found[found[:, 0] == 30, 1]) == {0, 5} and set(found[found[:, 0] == 15, 1]) == {0}


def test_near_units_stand_for_links_only_where_that_is_asked_for(capsys):
    side = whole(handmade())
    with pytest.raises(UserError, match=r"tasks\.x\.weight=1.0.*no links"):
        CrossReference(weight=1.0).check(side, "tasks.x")
    task = CrossReference(weight=1.0, distance=12, fallback=True)
    task.check(side, "tasks.x")
    assert "stands for one" in capsys.readouterr().out
    found = task.draw(side, COUNT, np.random.default_rng(0)).places
    steps = found[:, 1] - found[:, 0]
    assert (steps != 0).all() and (abs(steps) <= FALLBACK).all()
    assert (side.chapters[found[:, 0]] == side.chapters[found[:, 1]]).all()
    assert (abs(found[:, 2] - found[:, 0]) >= 12).all()


def test_where_a_unit_is_a_chapter_near_ones_are_of_the_book():
    chapters = np.abs(np.arange(40) - 19.5).astype(np.int32)  # the last of a book and the first of the next are alike
    side = whole(handmade(chapters=chapters))
    task = CrossReference(weight=1.0, distance=12, fallback=True)
    task.check(side, "tasks.x")
    found = task.draw(side, COUNT, np.random.default_rng(0)).places
    steps = found[:, 1] - found[:, 0]
    assert {*steps} == {*range(-FALLBACK, FALLBACK + 1)} - {0}
    assert (side.books[found[:, 0]] == side.books[found[:, 1]]).all()


def test_paraphrases_are_one_unit_in_two_translations_and_others_never_say_the_same(side):
    found = tasks()["paraphrase"].draw(side, COUNT, np.random.default_rng(0))
    (first, second), label = found.places.T, found.labels.astype(bool)
    assert (found.translations[:, 0] != found.translations[:, 1]).all()
    assert (first == second)[label].all() and (first != second)[~label].all()
    near = (side.books[first] == side.books[second]) & (abs(first - second) <= NEAR)
    assert near[~label].mean() > 0.45


def test_texts_that_are_equal_but_for_marks_are_no_negatives():
    text = handmade()
    for name in text.texts:
        text.texts[name][:] = ["The same."] * 20 + [f"{name} other {unit}" for unit in range(20)]
        text.texts[name][3] = "the SAME!"
    found = Paraphrase(weight=1.0, hard=0.0).draw(whole(text), COUNT, np.random.default_rng(0))
    negative = found.places[found.labels == 0]
    assert not (negative < 20).all(axis=1).any() and len(negative)


def test_where_hardly_a_text_differs_all_are_looked_through(monkeypatch):
    monkeypatch.setattr(Paraphrase, "TRIES", 0)
    texts = {"xx": [f"x {unit}" for unit in range(40)], "yy": ["Same."] * 39 + ["other"]}
    side = whole(handmade(texts=texts))
    Paraphrase(weight=1.0).check(side, "tasks.x")
    found = Paraphrase(weight=1.0).draw(side, COUNT, np.random.default_rng(0))
    for (first, second), (_, asked), label in zip(*found, strict=True):
        if not label and asked == 1:
            assert (second == 39) == (first < 39)
    assert {tuple(one) for one in found.translations[found.labels == 0]} == {(0, 1), (1, 0)}


IMPOSSIBLE = {
    "no consecutive units": (
        Coherence(weight=1.0),
        {"texts": {"xx": ["a", None] * 20}, "languages": {"xx": "xx"}},
        "no chapter has two",
    ),
    "one translation": (Paraphrase(weight=1.0), {"texts": {"xx": ["a"] * 40}}, "two translations, not xx alone"),
    "nothing in two": (
        Paraphrase(weight=1.0),
        {"texts": {"xx": ["a"] * 20 + [None] * 20, "yy": [None] * 20 + ["b"] * 20}},
        "no unit is there in two translations",
    ),
    "one text for all": (
        Paraphrase(weight=1.0),
        {"texts": {"xx": [f"x {unit}" for unit in range(40)], "yy": ["Same.", "same"] * 20}},
        "data.translations without yy",
    ),
    "two texts that each unit has": (
        Paraphrase(weight=1.0),
        {"texts": {"xx": ["a", "b"] * 20, "yy": ["B", "A"] * 20}},
        "data.translations without xx",
    ),
    "too far": (
        CrossReference(weight=1.0, distance=100),
        {"links": np.array([[0, 1]]), "votes": np.ones(1)},
        r"tasks\.x\.distance=100: no unit is that far",
    ),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_task_without_examples_is_refused_by_its_key(name):
    task, changes, said = IMPOSSIBLE[name]
    with pytest.raises(UserError, match=said) as refused:
        task.check(whole(handmade(**changes)), "tasks.x")
    assert str(refused.value).startswith("tasks.x.") and "\n" not in str(refused.value)


@pytest.mark.parametrize("option", options("tasks"))
def test_the_options_hold_tasks_that_can_be_built(option, config):
    nodes = config(f"tasks={option}", "experiment=multitask_debug").tasks
    found = {name: build(node, f"tasks.{name}") for name, node in nodes.items()}
    assert found and all(task.weight.at(0) > 0 for task in found.values())
    if option == "four":
        weights = {name: task.weight.at(0) for name, task in found.items()}
        assert weights == {"lm": 0.7, "coherence": 0.15, "cross_reference": 0.075, "paraphrase": 0.075}


def test_where_a_unit_is_a_chapter_the_next_chapter_of_the_book_follows():
    for chapters in (np.arange(40), np.abs(np.arange(40) - 19.5)):  # of the second, two at the border are alike
        side = whole(handmade(chapters=chapters.astype(np.int32)))
        assert side.neighbours.tolist() == [[place not in (19, 39) for place in range(40)]] * 2


def test_a_side_knows_its_books_and_neighbours(sides):
    for side in sides:
        for book, (start, end) in side.book_bounds.items():
            assert (side.books[start:end] == book).all() and (side.books == book).sum() == end - start
        for translation, place in zip(*side.neighbours.nonzero(), strict=True):
            assert side.has[translation, place] and side.has[translation, place + 1]
            assert side.units[place + 1] == side.units[place] + 1
            assert side.chapters[place] == side.chapters[place + 1] and side.books[place] == side.books[place + 1]
        assert all(re.fullmatch(r"\w*", one) and one == one.casefold() for of in side.plain for one in of)


def repeated():
    """`handmade` with a refrain: places 5 and 9 are one text in xx, and two in yy. 20 is linked with 30 and with 31."""
    text = handmade(links=np.array([[5, 25], [20, 30], [20, 31]]), votes=np.ones(3))
    text.texts["xx"][5] = text.texts["xx"][9] = "And he spake."
    return whole(text)


def test_a_refrain_that_is_worded_otherwise_is_no_negative():
    side, task = repeated(), Paraphrase(weight=1.0, hard=1.0)
    found = {task._negative(side, 5, (0, 1), np.random.default_rng(seed)) for seed in range(200)}
    assert len(found) > 5 and 9 not in found and 5 not in found


def test_what_is_right_as_well_is_not_pushed_away():
    """Of the anchors 5, 20 and 21 (all in xx); columns: their partners 25, 30, 22, then the third texts 9, 31, 5."""
    places = np.array([[5, 25, 9], [20, 30, 31], [21, 22, 5]])
    examples = Examples(places, np.zeros((3, 3), dtype=int), np.ones(3))
    found = CrossReference(weight=1.0).right_as_well(examples, repeated())
    assert found.tolist() == [
        [False, False, False, True, False, True],  # 9 says what 5 says, and 5 is the anchor itself
        [False, False, False, False, True, False],  # 31 is linked with 20
        [False, False, False, False, False, False],
    ]


def test_candidates_that_are_right_as_well_are_left_out_of_a_pool():
    task, side = CrossReference(weight=1.0), repeated()
    places = np.array([[25, 5, 12], [20, 30, 9]])
    pool = task._pool(Examples(places, np.zeros((2, 3), dtype=int), np.ones(2)), side)
    candidates = places[:, 1:].ravel()[np.argsort(places[:, 1:].ravel())]  # 5 9 12 30
    allowed = [set(candidates[row.numpy()]) for row in pool.allowed]
    assert allowed == [{5, 12, 30}, {5, 9, 12, 30}]  # 9 says what the partner 5 says
    near = CrossReference(weight=1.0, distance=12, fallback=True)
    pool = near._pool(
        Examples(np.array([[4, 6, 38], [36, 34, 7]]), np.zeros((2, 3), dtype=int), np.ones(2)), whole(handmade())
    )
    assert [pool.allowed[0].tolist(), pool.allowed[1].tolist()] == [
        [True, False, True, True],
        [True, True, True, False],
    ]


def test_a_negative_of_near_units_is_neither_the_anchor_nor_near():
    side = whole(
        handmade(
            **{
                "books": np.zeros(12, np.int32),
                "chapters": np.ones(12, np.int32),
                "verses": np.arange(12, dtype=np.int32),
                "texts": {"xx": [f"x {unit}" for unit in range(12)]},
                "languages": {"xx": "xx"},
                "book_names": ["one"],
            }
        )
    )
    task = CrossReference(weight=1.0, fallback=True)
    for anchor in range(12):
        found = {task._negative(side, 0, (anchor, anchor), np.random.default_rng(seed)) for seed in range(50)} - {None}
        assert all(abs(other - anchor) > FALLBACK for other in found)


def test_a_negative_does_not_say_what_the_partner_says():
    """Of the partner 5 the place 9 is a repetition."""
    task, side = CrossReference(weight=1.0), repeated()
    found = {task._negative(side, 0, (25, 5), np.random.default_rng(seed)) for seed in range(400)}
    assert 9 not in found and {8, 10} <= found


def test_the_nearest_of_a_pool_is_never_another_that_says_the_same():
    text = handmade()
    text.texts["yy"][3] = text.texts["yy"][8] = "The same."
    places, translations = np.array([[3, 3], [8, 8], [12, 12]]), np.array([[0, 1]] * 3)
    _, allowed = Paraphrase._pool(Examples(places, translations, np.ones(3)), whole(text))
    assert allowed.tolist() == [[True, False, True], [False, True, True], [True, True, True]]


def test_a_bound_is_told_of_the_usual_negatives_alone():
    assert Coherence(weight=1.0).best_possible(0.985) == 0.985
    assert Coherence(weight=1.0, hard=0.0).best_possible(0.985) is None
    assert Paraphrase(weight=1.0).best_possible(None) is None


def test_a_batch_of_some_examples_has_the_candidates_of_these_alone():
    mask = torch.arange(18).view(3, 6) % 5 == 0
    texts = torch.arange(3)[:, None, None].expand(3, 3, 4)
    batch = PairBatch(texts, torch.ones(3, 3), torch.ones(3), "x", 36, mask)
    part = rows_of(batch, slice(1, 3))
    assert part.tokens[:, 0, 0].tolist() == [1, 2]
    assert part.right_as_well.tolist() == mask[1:, [1, 2, 4, 5]].tolist()
    assert rows_of(batch._replace(right_as_well=None), slice(2)).right_as_well is None
