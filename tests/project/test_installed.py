"""Promises of an installation without a checkout: `pip install .` brings the configs, and commands for all of it."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from tiny import CONFIGS, ROOT, TINY

SOURCE = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "train.py", "src", "configs", "scripts")


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with what a wheel of this checkout holds."""
    if not {"pip", "setuptools"} <= {package.name for package in importlib.metadata.distributions()}:
        pytest.skip("pip and setuptools are not installed here")
    folder = tmp_path_factory.mktemp("wheel")
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    (folder / "checkout").mkdir()
    for name in SOURCE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / "checkout" / name, ignore=unwanted)
        else:
            shutil.copyfile(ROOT / name, folder / "checkout" / name)
    build = ["wheel", "--quiet", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", *build, str(folder / "checkout")], check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "site")
    shutil.rmtree(folder / "checkout")
    return folder / "site"


def run(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess:
    """Run Python in `folder` with the installed package before this checkout's."""
    environment = os.environ | {"PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1"}
    return subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)


def command(installed: Path, folder: Path, name: str, *words: str) -> subprocess.CompletedProcess:
    """What the command that pip makes of `frontpage-<name>` does."""
    start = f"import sys; from frontpage.command.installed_commands import {name}; sys.argv[0] = 'frontpage'; {name}()"
    return run(installed, folder, "-c", start, *words)


@pytest.mark.slow
def test_the_configs_and_the_commands_are_in_the_wheel(installed):
    files = {path.relative_to(CONFIGS): path.read_bytes() for path in CONFIGS.rglob("*.yaml")}
    there = installed / "frontpage" / "configs"
    assert {path.relative_to(there): path.read_bytes() for path in there.rglob("*.yaml")} == files
    for program in (ROOT / "train.py", *(ROOT / "scripts").glob("*.py")):
        assert (installed / "frontpage" / program.relative_to(ROOT)).read_bytes() == program.read_bytes()
    told = next(installed.glob("*.dist-info/entry_points.txt")).read_text()
    named = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert named and all(f"{name} = {function}\n" in told for name, function in named.items())


@pytest.mark.slow
def test_it_trains_searches_promotes_and_invents_in_any_folder(installed, tmp_path):
    chosen = [*TINY, "trainer.max_steps=1"]
    ended = command(installed, tmp_path, "train", "experiment=quickstart", *chosen, "hydra.run.dir=run")
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "run" / "run.json").is_file() and '"git_commit": null' in (tmp_path / "run/run.json").read_text()
    ended = command(installed, tmp_path, "generate", "run", "--num", "2", "--json", "invented.json")
    assert ended.returncode == 0 and (tmp_path / "invented.json").is_file(), ended.stderr
    search = ["--multirun", "hydra/sweeper=optuna", "hydra.sweeper.study_name=away", "hydra.sweeper.n_trials=1"]
    ended = command(installed, tmp_path, "train", *search, *chosen, "optimizer.lr=interval(1e-3,1e-2)")
    assert ended.returncode == 0, ended.stderr
    assert command(installed, tmp_path, "promote", "away").returncode == 0
    assert (installed / "frontpage" / "configs" / "experiment" / "away_best.yaml").is_file()
    ended = command(installed, tmp_path, "train", "experiment=away_best", "model.n_head=3")
    assert ended.returncode == 2 and "model.n_head=3" in ended.stderr  # its place was found
