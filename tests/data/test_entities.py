"""The promise of HTML entities: undone once where the key says so, told where it does not, and nothing else changed."""

import html
import random

import pytest

from frontpage.command.notices import forget_notices, notices
from frontpage.data.entities import without_entities
from frontpage.data.synthetic import SyntheticTitles


@pytest.fixture(autouse=True)
def no_notices_of_others():
    """Each test sees its own."""
    forget_notices()


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("quiet &#34;river&#34; &amp; more", 'quiet "river" & more'),
        ("&lt;b&gt; &eacute; &#x1F680; &nbsp;.", "<b> é 🚀 \u00a0."),
        ("&amp;amp; once", "&amp; once"),
        ("AT&T, R&D; Q&A", "AT&T, R&D; Q&A"),
        ("?a=1&copy=2&foo;", "?a=1&copy=2&foo;"),
        ("&#0; &#xD800; &#1114112;", "\ufffd \ufffd \ufffd"),
    ],
)
def test_entities_are_undone_once(title, expected):
    assert without_entities([title, "plain"], True, "here") == [expected, "plain"]
    assert notices() == []


@pytest.mark.parametrize("trial", range(5))
def test_what_was_escaped_comes_back(trial):
    generator = random.Random(trial)
    titles = ["".join(generator.choices("&;<>\"'#ab1 é", k=20)) for _ in range(50)]
    assert without_entities([html.escape(title) for title in titles], True, "here") == titles


def test_entities_that_are_kept_are_told():
    titles = ["AT&T", "quiet &#34;river&#34;", "&foo;", "&amp;"]
    assert without_entities(titles, False, "data.path=x.csv") == titles
    assert notices() == [
        "data.path=x.csv: 2 of 4 rows hold HTML entities such as &#34;, which are kept; runs with"
        " data.unescape_html=true undo them"
    ]
    forget_notices()
    assert without_entities(["AT&T", "&foo;"], False, "data.path=x.csv") == ["AT&T", "&foo;"] and notices() == []


@pytest.mark.parametrize("undone", [True, False])
def test_the_key_reaches_training_and_test_titles(tmp_path, undone):
    path = tmp_path / "titles.txt"
    path.write_text("a &amp; b\nc\nd\n", encoding="utf-8")
    data = SyntheticTitles(
        tokenizer=None, cache_dir=tmp_path, path=str(path), test_path=str(path), val_frac=0.5, unescape_html=undone
    )
    expected = "a & b" if undone else "a &amp; b"
    chosen = data.select()
    assert expected in [*chosen.train, *chosen.validation] and expected in data.test_set().titles
    assert len(notices()) == (0 if undone else 2)  # of the one file and of the other
