"""Promises of the notebooks: nothing of a run is committed, and where their titles and their size come from."""

import json
import re

import pytest
from tiny import ROOT, TINY

from frontpage.analysis.notebooks.notebook_run import (
    compose_run,
    load_titles,
    notebook_size,
    title_overrides,
    train_small,
)
from frontpage.analysis.notebooks.token_scores import score_alone, score_in_stream
from frontpage.command.errors import UserError
from frontpage.evaluation.original import packed_nats_per_char

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
METADATA = {  # the same on every machine
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def leftovers(notebook):
    """What a run or an editor has left in a notebook: a list of words, empty where it is clean."""
    found = [] if notebook["metadata"] == METADATA else ["metadata of the notebook"]
    for place, cell in enumerate(notebook["cells"]):
        found += [f"outputs of cell {place}"] if cell.get("outputs") else []
        found += [f"execution count of cell {place}"] if cell.get("execution_count") is not None else []
        found += [f"metadata of cell {place}"] if {*cell["metadata"]} - {"tags"} else []
    return found


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    """One committed notebook."""
    return json.loads(request.param.read_text(encoding="utf-8"))


def test_there_are_notebooks():
    assert {"01_titles", "02_attention"} <= {path.stem for path in NOTEBOOKS}


def test_nothing_of_a_run_is_committed(notebook):
    assert leftovers(notebook) == []


@pytest.mark.parametrize(
    ("place", "left", "named"),
    [
        ({"outputs": [{"output_type": "stream", "name": "stdout", "text": "8"}]}, {}, "outputs of cell"),
        ({"execution_count": 3}, {}, "execution count of cell"),
        ({"metadata": {"ExecuteTime": {"start_time": "2026-01-01"}}}, {}, "metadata of cell"),
        ({}, {"language_info": {"name": "python", "version": "3.11.2"}}, "metadata of the notebook"),
    ],
)
def test_what_a_run_leaves_would_be_found(notebook, place, left, named):
    code = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    code.update(place)
    notebook["metadata"].update(left)
    assert [words for words in leftovers(notebook) if words.startswith(named)]


def test_a_notebook_names_no_place_of_one_machine(notebook):
    text = "\n".join("".join(cell["source"]) for cell in notebook["cells"])
    assert re.findall(r"(?<![\w.])/(?:home|root|tmp|work|Users)/\S*|[A-Z]:\\\\", text) == []


def test_a_notebook_ends_with_a_finding_that_is_computed(notebook):
    sources = ["".join(cell["source"]) for cell in notebook["cells"]]
    assert any(re.match(r"#+ .*[Ff]inding", source) for source in sources)
    assert notebook["cells"][-1]["cell_type"] == "code"
    assert re.search(r"print\(", sources[-1])
    assert re.search(r"f\"[^\"]*\{", sources[-1])


def test_every_plot_has_labelled_axes(notebook):
    """A cell that makes axes names what both of them measure."""
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if "plt.subplots" in source or ".plot.barh" in source:
            assert re.search(r"xlabel", source), source
            assert re.search(r"ylabel|yticklabels", source), source


def test_titles_come_from_the_environment_then_from_beside_the_checkout_then_from_the_grammar(tmp_path):
    named, beside = tmp_path / "mine.txt", tmp_path / "hn_titles.parquet"
    assert title_overrides({}, beside) == ["data=synthetic"]
    beside.write_text("x")
    assert title_overrides({}, beside) == ["data=hn_titles", f'data.path="{beside}"']
    named.write_text("x")
    assert title_overrides({"FRONTPAGE_TITLES": str(named)}, beside) == ["data=hn_titles", f'data.path="{named}"']


def test_a_file_of_titles_that_is_missing_is_a_mistake_and_no_reason_for_others(tmp_path):
    with pytest.raises(UserError, match="FRONTPAGE_TITLES=.*nowhere.csv: a file of titles"):
        title_overrides({"FRONTPAGE_TITLES": str(tmp_path / "nowhere.csv")})


def test_the_size_is_small_unless_full_is_asked_for():
    assert notebook_size({}) == notebook_size({"FRONTPAGE_NOTEBOOK_SIZE": "small"}) == "small"
    assert notebook_size({"FRONTPAGE_NOTEBOOK_SIZE": "full"}) == "full"
    with pytest.raises(UserError, match="FRONTPAGE_NOTEBOOK_SIZE=huge: small or full"):
        notebook_size({"FRONTPAGE_NOTEBOOK_SIZE": "huge"})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Titles and a tiny model that sees its neighbours, trained as the notebooks do it."""
    cache = tmp_path_factory.mktemp("cache")
    config = compose_run(*TINY, "model.document_mask=false", f"paths.cache_dir={cache}")
    data = load_titles(config)
    return data, train_small(config, data)


def test_the_nats_of_single_tokens_sum_to_what_a_validation_counts(trained):
    data, model = trained
    scores = score_alone(model, data)
    assert len(scores.nats) == len(data.validation.tokens)
    sums = {}
    for batch in data.val_dataloader():
        for nats, title in zip(*(part.tolist() for part in model.score(batch)), strict=True):
            sums[title] = sums.get(title, 0.0) + nats
    assert scores.by_title() == pytest.approx([sums[title] for title in range(len(data.validation))], rel=1e-5)
    assert scores.is_end.sum() == len(data.validation)


def test_the_decision_to_end_is_a_part_of_the_nats_of_a_token(trained):
    """ln p(token) = ln p(goes on) + ln p(token | goes on), and of an end it is all."""
    scores = score_alone(*reversed(trained))
    assert scores.end_nats[scores.is_end] == pytest.approx(scores.nats[scores.is_end], rel=1e-5)
    assert (scores.end_nats[~scores.is_end] <= scores.nats[~scores.is_end] + 1e-6).all()
    assert scores.ends_by_title().sum() == pytest.approx(scores.end_nats.sum())


def test_in_a_stream_neighbours_are_seen_and_every_token_is_scored_once(trained):
    data, model = trained
    scores = score_in_stream(model, data)
    assert len(scores.nats) == len(data.validation.tokens)
    each = packed_nats_per_char(model, data.validation, data.sizes, data.block_size, 1024)
    assert scores.nats.sum() / float(data.sizes.characters.sum()) == pytest.approx(each, rel=1e-5)
    assert abs(scores.by_title() - score_alone(model, data).by_title()).max() > 1e-3
