"""Promises of an ensemble: what it gives a token is the mean of its models' probabilities, and runs that cannot be
averaged are refused."""

import json
import math
import shutil

import pytest
import torch
from programs import record_of, run_script, train_tiny, training_titles, write_csv

from frontpage.data.encoded import encode_titles
from frontpage.evaluation.averaged import averaged, title_sums, token_nats
from frontpage.evaluation.metrics import ratio_with_error
from frontpage.evaluation.scored_titles import ScoredTitles
from frontpage.runs.reopen import load_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three finished runs of other seeds, that see whole titles; the third is narrower."""
    folder = tmp_path_factory.mktemp("ensemble")
    more = {1: (), 2: (), 3: ("model.d_model=16", "data.evaluation_tokens=200", "data.evaluation_row=64")}
    return [
        train_tiny(folder / str(seed), f"seed={seed}", "data.block_size=64", *words) for seed, words in more.items()
    ]


def brute_force(runs, titles):
    """Nats of each title under the mean of whole distributions, one title at a time."""
    models = [load_run(run)[1] for run in runs]
    found = []
    with torch.no_grad():
        for title in titles:
            ids = [*models[0].tokenizer.encode_batch([title])[0], models[0].tokenizer.eos_id]
            tokens = torch.tensor([[models[0].tokenizer.eos_id, *ids[:-1]]])
            shares = torch.stack([model(tokens)[0].double().softmax(-1) for model in models]).mean(0)
            found.append(-shares[torch.arange(len(ids)), ids].log().sum().item())
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.slow
def test_the_ensemble_is_the_mean_of_the_models_distributions(runs, tmp_path, capfd):
    output = tmp_path / "ensemble.json"
    ended = run_script(capfd, "evaluate", *runs, "--json", output)
    assert (ended.status, ended.stderr) == (0, "")
    result, titles = json.loads(output.read_text()), training_titles(runs[0])[1]
    wanted = brute_force(runs, titles)
    characters = torch.tensor([len(title) + 5.0 for title in titles], dtype=torch.float64)
    value, error = ratio_with_error(wanted, characters)
    assert result["titles"] == len(titles) and result["seen_titles"] == 0
    assert result["metrics"]["val/nats_per_char"] == pytest.approx(value, rel=1e-6)
    assert result["metrics"]["val/nats_per_char_se"] == pytest.approx(error, rel=1e-5)
    single = [one["metrics"]["val/nats_per_char"] for one in result["members"]]
    recorded = [record_of(run)["metrics"]["final"]["val/nats_per_char"] for run in runs]
    assert single == pytest.approx(recorded, rel=1e-6)
    best = runs[single.index(min(single))]
    assert result["best_member"] == str(best)
    difference, error = ratio_with_error(wanted - brute_force([best], titles), characters)
    assert result["difference"] == pytest.approx(difference, abs=1e-6)
    assert result["difference_se"] == pytest.approx(error, rel=1e-3)
    assert f"{result['difference']:+.6f} ± {result['difference_se']:.6f}" in ended.stdout


@pytest.mark.slow
def test_titles_of_a_file_that_a_run_has_trained_on_are_left_out(runs, tmp_path, capfd):
    trained, held_out = training_titles(runs[0])
    file, output = write_csv(tmp_path / "titles.csv", [*trained[:5], *held_out]), tmp_path / "ensemble.json"
    ended = run_script(capfd, "evaluate", runs[0], f"data.path={file}", runs[1], "--json", output)
    assert (ended.status, ended.stderr) == (0, "")
    result = json.loads(output.read_text())
    assert (result["titles"], result["seen_titles"]) == (len(held_out), 5)


@pytest.mark.slow
def test_nats_of_tokens_add_up_to_those_of_titles_also_beyond_the_context(runs):
    config, module = load_run(runs[0])
    titles = ["word " * 40, "a b", "another title " * 20, "x"]  # two need windows that slide
    encoded = encode_titles(module.tokenizer, titles)
    assert sorted(encoded.lengths > config.data.block_size) == [False, False, True, True]
    nats, scored = token_nats(module, encoded, config.data)
    whole = ScoredTitles(module, titles, config.data)
    assert scored.tolist() == encoded.lengths.tolist()
    assert title_sums(nats, encoded).tolist() == pytest.approx(whole.nll.tolist(), rel=1e-6)
    first = encode_titles(module.tokenizer, titles[:1])
    assert nats[: len(first.tokens)].tolist() == pytest.approx(
        token_nats(module, first, config.data)[0].tolist(), rel=1e-4
    )


def test_means_of_probabilities_by_value():
    one, other = torch.tensor([0.5, 0.25]).double(), torch.tensor([0.25, 1.0]).double()
    mean = averaged([-one.log(), -other.log()])
    assert mean.tolist() == pytest.approx([-math.log(0.375), -math.log(0.625)])
    assert averaged([-one.log()]).tolist() == pytest.approx((-one.log()).tolist())
    assert averaged([torch.tensor([2000.0]).double(), torch.tensor([2000.0]).double()]).tolist() == [2000.0]
    with pytest.raises(ValueError, match="no model"):
        averaged([])


@pytest.mark.slow
@pytest.mark.parametrize(
    "change, said",
    [("tokenizer.vocab_size=290", "another tokenizer"), ("data.val_frac=0.3", "validated on other titles")],
)
def test_runs_that_cannot_be_averaged_are_refused(change, said, runs, tmp_path, capfd):
    other = train_tiny(tmp_path / "other", change)
    if "titles" in said:  # trained on fewer titles, a tokenizer differs as well
        shutil.copy(runs[0] / "tokenizer.json", other / "tokenizer.json")
    ended = run_script(capfd, "evaluate", runs[0], other)
    assert ended.status == 2 and said in ended.stderr and len(ended.stderr.splitlines()) == 1
    assert "run: " not in ended.stdout  # before anything is opened
