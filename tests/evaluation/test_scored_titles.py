"""A pass over titles says how far it is where it was given a name for that, and nothing where it was not."""

import pytest
import torch
from tiny import TINY

from frontpage.command import progress_line
from frontpage.command.build import build
from frontpage.evaluation.scored_titles import ScoredTitles


@pytest.fixture
def scoring(config, tmp_path, monkeypatch):
    """(module, titles, settings), the validation titles in at least three batches, and no wait between two lines."""
    monkeypatch.setattr(progress_line, "SAID_EVERY", 0.0)
    monkeypatch.setattr(progress_line, "can_redraw", lambda: False)
    settings = config(*TINY, f"paths.cache_dir={tmp_path}/cache", "data.evaluation_tokens=64", "data.batch_size=1")
    data = build(settings.data, "data")
    data.setup()
    torch.manual_seed(0)
    module = build(settings.model, "model", vocab_size=data.vocab_size).eval()
    module.tokenizer = data.tokenizer
    return module, data.selection.validation, settings.data


def shares(capsys):
    """The shares in per cent that were said, by name."""
    found = {}
    for line in capsys.readouterr().out.splitlines():
        name, _, rest = line.partition(": ")
        found.setdefault(name, []).append(int(rest.partition("%")[0]))
    return found


@pytest.mark.slow
def test_a_pass_that_has_a_name_says_how_far_it_is_and_one_without_says_nothing(scoring, capsys):
    silent = ScoredTitles(*scoring)
    stream = silent.metrics_of_the_stream()
    assert shares(capsys) == {}
    watched = ScoredTitles(*scoring, watch="titles")
    assert watched.metrics() == silent.metrics() and watched.metrics_of_the_stream(watch="stream") == stream
    found = shares(capsys)
    assert {*found} == {"titles", "stream, packed", "stream, the original's spans"}
    for said in found.values():
        assert said == sorted({*said}) and 0 < said[0] and said[-1] < 100
