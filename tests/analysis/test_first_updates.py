"""Promises of scripts/first_updates.py: both starts are trained on the same titles, and ours begins near ln V."""

import json
import math

import pytest
import torch
from programs import run_script
from torch import nn

from frontpage.analysis.benchmarks.first_updates import SHOWN, VOCABULARY, Sizes, batches, build, compare, table


@pytest.mark.slow
def test_our_start_is_near_ln_v_and_that_of_pytorchs_layers_is_not():
    result = compare([Sizes(2, 32, 4, "deepnorm"), Sizes(2, 32, 4, "layernorm")], updates=2)
    assert [row["start"] for row in result] == ["ours", "pytorch"] * 2
    for row in result:
        assert list(row["losses"]) == [0, 1, 2]
        near = abs(row["losses"][0] - math.log(VOCABULARY)) < 0.1
        assert near == (row["start"] == "ours")
    cells = list(table(result))
    assert cells[0] == ["net", "start", "parameters", "0", "1", "2"] and len({len(line) for line in cells}) == 1


def test_pytorchs_start_has_the_weights_of_its_layers_and_no_scale():
    sizes = Sizes(2, 64, 4, "deepnorm")
    ours, theirs = build(sizes, "ours", 0), build(sizes, "pytorch", 0)
    assert theirs.logit_scale == 1 != ours.logit_scale and theirs.blocks[0].residual_scale == 4**0.25
    assert float(theirs.token_embedding.weight.detach().std()) == pytest.approx(1, rel=0.05)
    assert theirs.head.weight is theirs.token_embedding.weight
    for layer in (part for block in theirs.blocks for part in block.modules() if isinstance(part, nn.Linear)):
        assert float(layer.weight.detach().abs().max()) <= layer.in_features**-0.5


@pytest.mark.slow
def test_no_row_is_trained_on_twice_or_measured_as_well():
    rows = batches(SHOWN[-1] + 1, seed=0)
    assert rows.shape == (51, 4, 33) and len(torch.unique(rows.flatten(0, 1), dim=0)) == 51 * 4


@pytest.mark.slow
def test_the_script_prints_a_table_and_refuses_what_is_no_net(tmp_path, capfd):
    outcome = run_script(
        capfd, "first_updates", "--nets", "1x32x4:rmsnorm", "--updates", 1, "--json", tmp_path / "x.json"
    )
    assert outcome.status == 0 and "1 x 32 rmsnorm" in outcome.stdout
    assert [row["start"] for row in json.loads((tmp_path / "x.json").read_text())] == ["ours", "pytorch"]
    refused = run_script(capfd, "first_updates", "--nets", "1x32:rms")
    assert refused.status == 2 and "--nets: 1x32:rms: LAYERSxWIDTHxHEADS:NORM" in refused.stderr
