"""The real corpus, where a copy of it lies beside the checkout: its counts are those that its page tells."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from tiny import ROOT

from frontpage.data.parallel.read import read_parallel

PLACES = [folder / "shared" / "data" / "bible" for folder in (ROOT.parent, ROOT.parent.parent)]  # of a work tree, too
BIBLE = next((folder for folder in PLACES if folder.is_dir()), PLACES[0])
pytestmark = pytest.mark.skipif(
    not BIBLE.is_dir(), reason="the Bible in six translations does not lie beside the checkout"
)


@pytest.fixture(scope="module")
def bible():
    return read_parallel(BIBLE)


@pytest.mark.slow
def test_its_counts(bible):
    counts = {name: sum(text is not None for text in texts) for name, texts in bible.texts.items()}
    assert counts == {
        "de_elb1905": 31102,
        "en_asv": 31086,
        "en_kjv": 31102,
        "en_web": 31098,
        "es_rv1909": 30622,
        "fr_martin1744": 30699,
    }
    assert list(bible.languages.values()) == ["de", "en", "en", "en", "es", "fr"]
    assert len(bible.books) == 31102 and len(bible.documents()) == 1189
    assert bible.book_names == [str(number) for number in range(1, 67)]
    assert bible.document("en_kjv", bible.documents()[0][:1]) == (
        "In the beginning God created the heaven and the earth."
    )


@pytest.mark.slow
def test_its_links(bible):
    table = pa.parquet.read_table(BIBLE / "cross_references.parquet")
    columns = [table.column(name).to_numpy().astype(np.int64) for name in table.schema.names]
    start, end = (((book * 1000) + chapter) * 1000 + verse for book, chapter, verse in (columns[:3], columns[3:6]))
    there = start != end
    expected = {(min(pair), max(pair)) for pair in zip(start[there].tolist(), end[there].tolist(), strict=True)}
    assert len(start) == 341_949 and len(expected) == len(bible.links) == 299_118
    assert bible.votes.sum() == columns[6][there].sum() and bible.votes.min() >= 1
    assert (bible.links[:, 0] < bible.links[:, 1]).all()
    books, chapters, verses = (one.astype(np.int64) for one in (bible.books, bible.chapters, bible.verses))
    units = (((books + 1) * 1000 + chapters) * 1000 + verses).tolist()
    assert {(units[first], units[second]) for first, second in bible.links.tolist()} == expected
