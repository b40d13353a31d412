"""Promises of scoring a file: one pass for the honest metrics of all its titles and of any part of them."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from programs import run_script, train_tiny, training_titles, write_csv

from frontpage.data.scoring_rows import ScoringRows
from frontpage.data.text_sizes import TextSizes
from frontpage.evaluation.metrics import honest_metrics
from frontpage.evaluation.scored_titles import ScoredTitles
from frontpage.runs.reopen import load_run

HONEST = {"loss", "perplexity", "nats_per_char", "nats_per_char_se", "bits_per_byte", "coverage"}
STREAM = {"packed_nats_per_char", "mainrun_loss", "mainrun_coverage"}
NEW = [f"Nobody wrote this title number {number}" for number in range(30)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The directory of a finished run."""
    return train_tiny(tmp_path_factory.mktemp("passes") / "run", "data.block_size=16", "data.batch_size=4")


def counted(module):
    """How often the weights of the module are used from now on, by the number of rows."""
    calls = Counter()
    module.net.blocks[0].register_forward_pre_hook(lambda block, arguments: calls.update([len(arguments[0])]))
    return calls


@pytest.mark.slow
def test_a_part_of_the_titles_is_a_sum_and_equals_what_scoring_it_alone_gives(run):
    config, module = load_run(run)
    titles, calls = [*NEW, *training_titles(run)[0][:40]], counted(module)
    chosen = np.arange(len(titles)) % 3 == 0
    scored = ScoredTitles(module, titles, config.data)
    once = calls.total()
    assert once == len(
        ScoringRows(
            scored.encoded,
            context=config.data.block_size,
            pad_id=0,
            eos_id=1,
            batch_tokens=config.data.evaluation_tokens,
            row_length=config.data.evaluation_row,
        )
    )
    everything, part = scored.metrics(), scored.metrics(chosen)
    assert calls.total() == once
    alone = [title for title, picked in zip(titles, chosen, strict=True) if picked]
    again = ScoredTitles(module, alone, config.data)
    sizes = TextSizes.of(alone, [len(module.tokenizer.encode(title)) + 1 for title in alone])
    expected = honest_metrics(again.nll, again.scored, sizes)
    assert part == pytest.approx(expected, rel=1e-6) and part["val/coverage"] == everything["val/coverage"] == 1
    total = scored.nll[torch.from_numpy(chosen)].sum() / sum(len(title) + 5 for title in alone)
    assert part["val/nats_per_char"] == pytest.approx(float(total))
    for stream, titles_of_it in (
        (scored.metrics_of_the_stream(chosen), again),
        (scored.metrics_of_the_stream(), scored),
    ):
        assert stream == pytest.approx(titles_of_it.metrics_of_the_stream(), rel=1e-6)
        assert stream["val/mainrun_coverage"] > 0.5 and stream["val/packed_nats_per_char"] > 1


@pytest.mark.slow
def test_evaluate_passes_over_the_titles_again_on_request_only(run, capfd, tmp_path):
    seen = training_titles(run)[0][:20]
    path, output = write_csv(tmp_path / "titles.csv", [*NEW, *seen]), tmp_path / "scored.json"
    found = {}
    for words in ((), ("--all-metrics",)):
        ended = run_script(capfd, "evaluate", run, f"data.path={path}", "--json", output, *words)
        assert (ended.status, ended.stderr) == (0, "")
        found[words] = json.loads(output.read_text())
        assert found[words]["seen_share"] == 20 / 50 and found[words]["metrics"]["val/coverage"] == 1
        assert {"opening the run", "reading titles", "scoring"} <= found[words]["seconds"].keys()
        assert ended.stdout.splitlines()[-1].startswith("seconds: opening the run ")
    plain, whole = found.values()
    for of in ("metrics", "metrics_unseen"):
        assert {*plain[of]} == {f"val/{name}" for name in HONEST}
        assert {*whole[of]} == {f"val/{name}" for name in HONEST | STREAM}
        assert whole[of] == pytest.approx({**whole[of], **plain[of]}, rel=1e-12)
    alone = write_csv(tmp_path / "new.csv", NEW)
    assert run_script(capfd, "evaluate", run, f"data.path={alone}", "--json", output, "--all-metrics").status == 0
    assert whole["metrics_unseen"] == pytest.approx(json.loads(output.read_text())["metrics"], rel=1e-6)
