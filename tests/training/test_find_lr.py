"""Promises of the learning-rate finder: a suggestion below where training diverges, from the recipe as it is."""

import csv
import json
import sys

import numpy as np
import pytest
import torch
from programs import run_script
from tiny import TINY

from frontpage.training.lr_range_test import RateSweep, range_test, suggest


def test_the_suggestion_is_the_steepest_point_over_the_logarithm():
    rates = np.geomspace(1e-6, 1, 400)
    falling = 9 - 4 / (1 + np.exp(-3 * (np.log10(rates) + 3)))  # steepest at 1e-3
    rising = 5 * np.maximum(np.log10(rates) + 1, 0)  # from 1e-1 on
    assert suggest(list(rates), list(falling + rising)) == pytest.approx(1e-3, rel=0.6)
    assert suggest(list(rates), list(5 + rising + np.log(rates) - np.log(rates[0]))) is None
    assert suggest([1e-3, 1e-2], [3.0, 2.0]) is None


@pytest.mark.slow
def test_the_rate_grows_with_every_update_to_the_end(config, monkeypatch, tmp_path):
    from frontpage.recipe.language_module import LanguageModule

    seen, step = [], LanguageModule.training_step

    def watched(self, batch, batch_idx):
        seen.append([group["lr"] for group in self.trainer.optimizers[0].param_groups])
        return step(self, batch, batch_idx)

    monkeypatch.setattr(LanguageModule, "training_step", watched)
    settings = config(*TINY, "trainer.accumulate_grad_batches=2", "optimizer.lr=0.5", f"paths.cache_dir={tmp_path}")
    rates, losses = range_test(settings, 1e-6, 1e-4, 20)
    assert len(rates) == len(losses) == 20 and rates[0] == pytest.approx(1e-6) and rates[-1] == pytest.approx(1e-4)
    assert np.allclose(np.diff(np.log(rates)), np.log(100) / 19)
    assert list(dict.fromkeys(group[0] for group in seen)) == pytest.approx(rates), "a rate for each update"
    assert len(seen) > 30, "of several micro-batches"
    assert all(group[0] == group[1] for group in seen)


def test_groups_keep_the_ratio_of_their_rates():
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": [weights[0]]}, {"params": [weights[1]], "lr": 0.1}], lr=0.02)
    schedule = RateSweep(0.02, 1e-4, 1e-2, 3).schedule(optimizer, 3)
    for expected in (1e-4, 1e-3, 1e-2):
        assert schedule.get_last_lr() == pytest.approx([expected, 5 * expected])
        optimizer.step()
        schedule.step()


@pytest.mark.slow
def test_it_suggests_plots_and_writes_the_curve(capfd, tmp_path):
    out, places = tmp_path / "rates.png", f"paths.cache_dir={tmp_path}/cache"
    arguments = (*TINY, places, "--out", out, "--json", tmp_path / "rates.json", "--updates", "60", "--lowest", "1e-5")
    ended = run_script(capfd, "find_lr", *arguments)
    assert (ended.status, ended.stderr) == (0, "")
    found = json.loads((tmp_path / "rates.json").read_text())
    assert 1e-4 < found["suggestion"] < 0.5
    assert f"suggestion: optimizer.lr={found['suggestion']:.2g} (the config has 0.001)" in ended.stdout
    with (tmp_path / "rates.csv").open() as file:
        rows = [(float(row["learning_rate"]), float(row["loss"])) for row in csv.DictReader(file)]
    assert rows == list(zip(found["learning_rates"], found["losses"], strict=True))
    assert out.read_bytes().startswith(b"\x89PNG")
    assert min(found["losses"]) < found["losses"][0] - 0.3
    assert not list(tmp_path.glob("**/*.ckpt")) and not list(tmp_path.glob("**/run.json"))


@pytest.mark.parametrize(
    ("arguments", "pieces"),
    [
        (["--out", "nowhere/rates.png"], ["--out=nowhere/rates.png", "existing folder"]),
        (["--out", "rates.txt"], ["--out=rates.txt", ".png"]),
        (["--updates", "3"], ["--updates", "at least 20"]),
        (["--lowest", "2"], ["--lowest=2.0", "below --highest"]),
        (["optimizer.lr=0"], ["optimizer.lr=0", "above 0"]),
        (["ckpt_path=last"], ["ckpt_path=last", "from new weights"]),
        (["optimizer.rl=1"], ["did you mean 'optimizer.lr'"]),
    ],
)
def test_what_it_refuses(capfd, tmp_path, monkeypatch, arguments, pieces):
    monkeypatch.chdir(tmp_path)
    ended = run_script(capfd, "find_lr", *TINY, *arguments)
    assert ended.status == 2 and len(ended.stderr.splitlines()) <= 3
    assert all(piece in ended.stderr for piece in pieces), ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_plot_without_matplotlib_is_refused_before_training(capfd, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    ended = run_script(capfd, "find_lr", *TINY, "--out", tmp_path / "rates.png")
    assert ended.status == 2 and "pip install -c constraints.txt -e '.[analysis]'" in ended.stderr
