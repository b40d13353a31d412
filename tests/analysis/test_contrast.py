"""Promises of minimal pairs: the likelier text is found by the nats of both, and a file that is none is refused."""

import json
import math

import pytest
import torch
from programs import run_script, train_tiny

from frontpage.analysis.contrast import Contrast, contrast, read_pairs
from frontpage.command.errors import UserError
from frontpage.evaluation.scored_titles import ScoredTitles
from frontpage.runs.reopen import load_run


def test_the_summary_by_hand():
    found = Contrast([("a", "b")] * 4, torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([2.0, 4.0, 2.0, 5.0])).summary()
    assert found["accuracy"] == 0.75 and found["accuracy_se"] == pytest.approx(math.sqrt(0.75 * 0.25 / 4))
    assert found["difference"] == 0.75 and found["difference_se"] == pytest.approx(math.sqrt(4.75 / 3 / 4))


@pytest.mark.slow
def test_pairs_of_a_run(tmp_path, capfd):
    run = train_tiny(tmp_path / "run")
    file = tmp_path / "pairs.tsv"
    file.write_text("Show HN: a parser\tparser a HN: Show\n\nAsk HN: why\tAsk HN: qqq\n", encoding="utf-8")
    ended = run_script(capfd, "contrast", run, file, "--json", tmp_path / "found.json")
    assert ended.status == 0 and "of 2 pairs, by chance 0.5" in ended.stdout, ended.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    config, module = load_run(run)
    texts = [text for pair in read_pairs(str(file)) for text in pair]
    nats = ScoredTitles(module, texts, config.data).nll.tolist()
    said = [value for pair in found["pairs"] for value in (pair["nats_right"], pair["nats_wrong"])]
    assert said == pytest.approx(nats) and found["accuracy"] == sum(nats[at] < nats[at + 1] for at in (0, 2)) / 2
    again = contrast(module, [(right, wrong) for wrong, right in read_pairs(str(file))], config).summary()
    assert again["accuracy"] == 1 - found["accuracy"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"one text only\n", "line 1 is not two different texts"),
        (b"a\tb\n\na\ta\n", "line 3 is not two different texts"),
        (b"a\t\n", "line 1"),
        (b"\n\n", "it holds no pairs"),
        (b"a\t\xff\n", "not UTF-8"),
    ],
)
def test_a_file_without_pairs_is_refused(content, said, tmp_path):
    file = tmp_path / "pairs.tsv"
    file.write_bytes(content)
    with pytest.raises(UserError, match=said):
        read_pairs(str(file))
    with pytest.raises(UserError, match="a file of lines"):
        read_pairs(str(tmp_path / "nothing.tsv"))
