"""The walk-through in docs/attention.md, typed in and run: two new files, one line of one test, one more variant."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import ROOT, TINY, options

PAGE = (ROOT / "docs" / "attention.md").read_text(encoding="utf-8")
SECTION = PAGE.split("\n## Adding a variant\n")[1].split("\n## ")[0]
NEEDED = (
    *("src", "configs", "tests", "docs", "scripts", "notebooks", ".ci", ".github"),
    *("train.py", "pyproject.toml", "README.md", "Makefile", "Dockerfile", ".dockerignore", "constraints.txt"),
)
TABLE, PROMISES = "tests/shared/attentions.py", "tests/attention/test_attention.py"


class Copy:
    """What the walk-through needs of the repository, in another place."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in NEEDED:
            source, target = ROOT / name, root / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "fixtures"))
            else:
                shutil.copy(source, target)

    def files(self) -> dict[str, str]:
        """The text of each file by its path, with stand-ins for what is no text: pictures, arrays."""
        paths = [path for path in self.root.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        return {str(path.relative_to(self.root)): path.read_text("utf-8", "replace") for path in paths}

    def run(self, line: str, *more: str) -> subprocess.CompletedProcess[str]:
        """A command as the page writes it, with the copy's package in place of the installed one."""
        program, *words = shlex.split(line)
        start = {"python": [], "pytest": ["-m", "pytest", "-p", "no:cacheprovider", "-m", "not slow"]}[program]
        return subprocess.run(
            [sys.executable, "-B", *start, *words, *more],
            cwd=self.root,
            env=os.environ | {"PYTHONPATH": str(self.root / "src"), "HYDRA_FULL_ERROR": "0"},
            capture_output=True,
            text=True,
        )


def written() -> tuple[dict[str, str], str, str]:
    """The new files by their paths, the line of the test, and the variant's name, as the page gives them."""
    steps = re.findall(r"^\*\*\d\. (.*?)\*\*.*?^```\w+\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)
    *new, (where, line) = steps
    places = [re.fullmatch(r"`([\w.]+)` in `([\w/]+/)`\.", title) for title, _ in new]
    assert where == f"One line in `{TABLE}`" and line.count("\n") == 1
    files = {place[2] + place[1]: text for place, (_, text) in zip(places, new, strict=True)}
    return files, line, Path(next(iter(files))).stem


FILES, LINE, NAME = written()
HEAD = "REACH = {\n"  # of the table in TABLE
COMMANDS = [line for line in SECTION.splitlines() if line.startswith(("python ", "pytest "))]


def test_the_page_shows_two_files_one_line_and_a_variant_that_is_new():
    assert list(FILES) == [f"src/frontpage/attention/{NAME}.py", f"configs/model/attention/{NAME}.yaml"]
    assert NAME not in options("model/attention")
    assert not [path for path in FILES if (ROOT / path).exists()]
    assert [command.split()[0] for command in COMMANDS] == ["python", "pytest", "pytest"]
    assert all(NAME in text for text in (LINE, *COMMANDS))


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Copy:
    """The copy, with the page's files and its line."""
    copy = Copy(tmp_path_factory.mktemp("repository"))
    before = copy.files()
    for path, text in FILES.items():
        (copy.root / path).write_text(text, encoding="utf-8")

    found = copy.run(
        "python -c 'import frontpage, frontpage.command.config_folder as configs;"
        " print(frontpage.__file__, configs.CONFIGS)'"
    )
    assert found.stdout.split() == [str(copy.root / "src/frontpage/__init__.py"), str(copy.root / "configs")]
    assert before[TABLE].count(HEAD) == 1
    (copy.root / TABLE).write_text(before[TABLE].replace(HEAD, HEAD + LINE), encoding="utf-8")
    after = copy.files()
    assert after.keys() - before.keys() == set(FILES)
    assert [path for path in before if after[path] != before[path]] == [TABLE]
    return copy


@pytest.mark.slow
def test_the_suite_misses_the_variant_until_its_line_is_there(copy):
    count = f"pytest {PROMISES} -k test_every_variant_says_how_far_it_reaches"
    with_line = (copy.root / TABLE).read_text(encoding="utf-8")
    (copy.root / TABLE).write_text(with_line.replace(HEAD + LINE, HEAD), encoding="utf-8")
    try:
        missed = copy.run(count)
    finally:
        (copy.root / TABLE).write_text(with_line, encoding="utf-8")
    # 1: a test failed; what cannot be collected is 2
    assert missed.returncode == 1 and "1 failed" in missed.stdout and f"'{NAME}'" in missed.stdout, missed.stdout
    found = copy.run(count)
    assert found.returncode == 0 and "1 passed" in found.stdout, found.stdout


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("pytest ")])
def test_the_promises_hold_of_the_variant(copy, line):
    ended = copy.run(line)
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr
    assert int(re.search(r"(\d+) passed", ended.stdout)[1]) >= (1 if "src/" in line else 100), ended.stdout


@pytest.mark.slow
def test_the_variant_trains(copy, tmp_path):
    line = next(line for line in COMMANDS if line.startswith("python "))
    places = f"paths.log_dir={tmp_path}/logs", f"paths.cache_dir={tmp_path}/cache"
    ended = copy.run(line, *TINY, "trainer.max_steps=2", *places)
    assert (ended.returncode, ended.stderr) == (0, "")
    (path,) = tmp_path.glob("logs/runs/*/*/run.json")
    record = json.loads(path.read_text())
    assert (record["status"], record["steps"]) == ("finished", 2)
    assert record["config"]["model"]["attention"]["_target_"].startswith(f"frontpage.attention.{NAME}.")
    assert record["attention"]["class"] == record["config"]["model"]["attention"]["_target_"].split(".")[-1]
    assert 0 < record["attention"]["visible_pairs"] < 1


@pytest.mark.slow
@pytest.mark.parametrize(("value", "message"), [("0", "at least 1"), ("wide", "must be a whole number")])
def test_a_wrong_knob_is_refused_under_its_name(copy, tmp_path, value, message):
    wrong = f"python train.py model/attention={NAME} model.attention.window={value}"
    ended = copy.run(wrong, *TINY, f"paths.log_dir={tmp_path}/logs", f"paths.cache_dir={tmp_path}/cache")
    assert ended.returncode == 2
    assert ended.stderr == f"model.attention.window={value}: {message}\n"


@pytest.mark.slow
def test_the_new_file_is_in_the_style_of_the_house(copy):
    for check in (["check"], ["format", "--check"]):
        ended = copy.run(f"python -m ruff {shlex.join(check)} --no-cache src/frontpage/attention/{NAME}.py")
        assert ended.returncode == 0, ended.stdout + ended.stderr
