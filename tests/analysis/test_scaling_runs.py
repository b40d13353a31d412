"""Promises of the runs of a scaling law: a grid is trained once, can be fitted, and harms no other file."""

import json
import math

import pytest
from programs import run_script

from frontpage.analysis.scaling.points import check_comparable, read_points
from frontpage.analysis.scaling.spread import spread_of

SMALL = ("data=synthetic", "data.num_titles=300", "tokenizer.vocab_size=300", "trainer.accelerator=cpu")


@pytest.mark.slow
def test_a_grid_is_trained_once_and_can_be_fitted(capfd, tmp_path):
    folder = tmp_path / "grid"
    start = ("scaling_runs", folder, *SMALL, f"paths.cache_dir={tmp_path}/cache", "--tokens", "4200", "--jobs", 1)
    ended = run_script(capfd, *start, "--sizes", "32x1,64x1", "--held-out", "")
    assert ended.status == 0, ended.stdout + ended.stderr
    assert "2 runs, 0 finished before" in ended.stdout
    records = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/run.json")}
    assert sorted(records) == ["32x1_4200", "64x1_4200"]
    assert all(record["status"] == "finished" and record["steps"] == 2 for record in records.values())
    rates = [records[name]["config"]["optimizer"]["lr"] for name in sorted(records)]
    assert rates == pytest.approx([8e-3 * math.sqrt(2), 8e-3], rel=1e-3)
    ended = run_script(capfd, *start, "--sizes", "32x1,64x1", "--held-out", "96x1:4200")
    assert ended.status == 0 and "3 runs, 2 finished before" in ended.stdout
    assert f"scaling_law.py {folder} --hold-out {folder}/96x1_4200" in ended.stdout
    ended = run_script(capfd, *start, "--sizes", "32x1,64x1", "--held-out", "", "model.dropout=0.3")
    assert ended.status == 2 and "model.dropout=0.0, not 0.3; name another folder" in ended.stderr
    ended = run_script(capfd, *start, "--sizes", "32x1,64x1", "--held-out", "", "seed=2")
    assert ended.status == 2 and "seed=1337, not 2; name another folder" in ended.stderr
    ended = run_script(capfd, "scaling_law", folder, "--hold-out", folder / "96x1_4200")
    assert ended.status == 2 and "needs 3 runs" in ended.stderr


@pytest.mark.slow
def test_runs_with_several_seeds_tell_their_spread(capfd, tmp_path):
    folder = tmp_path / "grid"
    shape = ("--sizes", "32x1", "--tokens", "4200", "--held-out", "", "--seeds", "1,2", "--jobs", 1)
    ended = run_script(capfd, "scaling_runs", folder, *SMALL, f"paths.cache_dir={tmp_path}/cache", *shape)
    assert ended.status == 0, ended.stdout + ended.stderr
    records = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/run.json")}
    assert {name: record["config"]["seed"] for name, record in records.items()} == {
        "32x1_4200_seed1": 1,
        "32x1_4200_seed2": 2,
    }
    ended = run_script(capfd, "scaling_runs", folder, *SMALL, f"paths.cache_dir={tmp_path}/cache", *shape)
    assert ended.status == 0 and "2 runs, 2 finished before" in ended.stdout
    points = read_points([folder])
    check_comparable(points)
    assert [point.shape for point in points] == [(32, 1), (32, 1)]
    logs = [math.log(record["metrics"]["final"]["val/nats_per_char"]) for record in records.values()]
    assert spread_of(points) == (pytest.approx(abs(logs[0] - logs[1]) / math.sqrt(2)), 1)
    assert logs[0] != logs[1]


@pytest.mark.parametrize(
    ("arguments", "pieces"),
    [
        (["data.path=nowhere.csv"], ["data.path=nowhere.csv", "no such file"]),
        (["model.d_model=64"], ["model.d_model=64", "set for each run"]),
        (["data.blok_size=3"], ["data.blok_size=3", "did you mean"]),
        (["--sizes", "64"], ["'64' is not WIDTHxLAYERS", "multiple of 32"]),
        (["--sizes", "50x2"], ["'50x2' is not WIDTHxLAYERS"]),
        (["--tokens", "100"], ["--tokens=100", "2,048"]),
        (["--tokens", "many"], ["'many' is not a number"]),
        (["seed=3", "--seeds", "1,2"], ["seed=3", "set for each run"]),
        (["--seeds", "1,one"], ["'one' is not a whole number"]),
    ],
    ids=lambda value: value[0],
)
def test_mistakes_in_the_grid(capfd, tmp_path, arguments, pieces):
    ended = run_script(capfd, "scaling_runs", tmp_path / "grid", *SMALL, "--held-out", "", *arguments)
    assert ended.status == 2, ended.stdout
    assert len(ended.stderr.splitlines()) <= 3 and all(piece in ended.stderr for piece in pieces), ended.stderr
    assert not (tmp_path / "grid").exists() or not list((tmp_path / "grid").glob("*/run.json"))


@pytest.mark.slow
def test_a_folder_with_other_files_is_left_alone(capfd, tmp_path):
    place = tmp_path / "grid" / "32x1_4200"
    place.mkdir(parents=True)
    (place / "mine.txt").write_text("mine")
    shape = ("--sizes", "32x1", "--tokens", "4200", "--held-out", "")
    ended = run_script(capfd, "scaling_runs", tmp_path / "grid", *SMALL, *shape)
    assert ended.status == 2 and f"folder={place}" in ended.stderr
    assert [path.name for path in place.iterdir()] == ["mine.txt"]
