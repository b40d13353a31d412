"""Promises of README.md and docs/: what they tell a reader to type works, what they name exists, nothing is missing."""

import json
import re
import shlex
import subprocess
from pkgutil import resolve_name

import pytest
from omegaconf import OmegaConf
from programs import run_script, train_tiny, write_csv
from tiny import ROOT, options

from frontpage.data.grammar.title_rules import title_grammar
from frontpage.data.parallel.synthetic_text import synthetic_parallel

README = (ROOT / "README.md").read_text(encoding="utf-8")
RUNS = (ROOT / "docs" / "runs.md").read_text(encoding="utf-8")


def blocks_of(text):
    """(language, text) of each block of code."""
    return re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


BLOCKS = blocks_of(README)
# And how a run goes on, which was told there once.
LINES = [
    line.split("  #")[0].strip()
    for kind, block in [*BLOCKS, *blocks_of(RUNS.split("\n## Several runs")[0])]
    if kind == ""
    for line in block.splitlines()
]
COMMANDS = [shlex.split(line) for line in LINES if line]
TABLED = [shlex.split(words) for words in re.findall(r"^\| `(make [^`]+)` \|", README, re.MULTILINE)]
SMALLER = {  # what is added to a command, so that it takes seconds
    "memory": ["model.n_layer=1", "model.d_model=64"],
    "benchmark_attention": ["--batch", "1", "--lengths", "16", "--rounds", "1"],
}
# Not the log: it tells of what there was.
PAGES = ("README.md", "CONTRIBUTING.md", "src/frontpage/README.md")
MARKDOWN = [ROOT / name for name in PAGES]
MARKDOWN += [path for path in sorted((ROOT / "docs").glob("*.md")) if path.name != "log.md"]


INSIDE = ("additions/", "parts/", "kernels/")  # of attention/, named in its row


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """A folder with a file of titles, as a reader may have it, to type the commands in."""
    write_csv(tmp_path / "my_titles.csv", title_grammar().sample(400, seed=1))
    columns = synthetic_parallel(books=8, chapters=3, verses=5, translations=3, seed=1).texts
    lines = ["\t".join(columns), *("\t".join(line) for line in zip(*columns.values(), strict=True))]
    (tmp_path / "lines.tsv").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_command_is_one_that_the_tests_know():
    scripts = (
        ["python", f"scripts/{name}.py"]
        for name in ("evaluate", "generate", "score", "export", "memory", "benchmark_attention")
    )
    known = (["python", "train.py"], *scripts)
    assert all(words[0] == "make" or words[:2] in known for words in COMMANDS), COMMANDS
    assert COMMANDS[:2] == [["make", "train"], ["make", "test"]] and ["make", "train"] in TABLED
    assert all([words for words in COMMANDS if words[:2] == start] for start in known)


@pytest.mark.slow
def test_the_commands_work_in_the_order_in_which_they_stand(reader, command, capfd):
    """One after the other, since later ones reopen what earlier ones have made; training is cut to two steps."""
    for words in COMMANDS:
        if words[1] == "train.py":
            small = "debug=fast_parallel" if "data=parallel" in words else "debug=fast"
            shortened = [] if {"debug=fast", "--help"} & {*words} else [small]
            steps = [] if not shortened else ["trainer.max_steps=2", "callbacks.sample_titles.num=1"]
            ended = command(*words[2:], *shortened, *steps)
        elif words[0] == "python":
            name = words[1].removeprefix("scripts/").removesuffix(".py")
            ended = run_script(capfd, name, *words[2:], *SMALLER.get(name, []))
        else:
            continue
        assert ended.status == 0, (words, ended.stderr)
        assert ended.stderr == "", words


@pytest.mark.parametrize("words", [words for words in COMMANDS + TABLED if words[0] == "make"], ids=" ".join)
def test_make_has_the_target(words):
    asked = subprocess.run(["make", "--dry-run", *words[1:]], cwd=ROOT, capture_output=True, text=True)
    assert asked.returncode == 0, asked.stderr
    makefile = (ROOT / "Makefile").read_text()
    for variable in (word.split("=")[0] for word in words if "=" in word):
        assert re.search(rf"\b{variable}\b", makefile)


def test_the_python_examples_run(reader, capsys):
    train_tiny(reader / "logs" / "first")
    examples = [block for kind, block in BLOCKS if kind == "python"]
    assert examples
    for example in examples:
        exec(compile(example, "README.md", "exec"), {})
    assert "Show HN:" in capsys.readouterr().out


def test_the_readme_is_short():
    assert len(README.splitlines()) < 200


def test_the_picture_is_small():
    (picture,) = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    content = (ROOT / picture).read_bytes()
    assert content.startswith(b"\x89PNG\r\n") and len(content) < 150_000


def test_the_table_of_results_is_that_of_the_leaderboard():
    """Without what makes it: the losses of the README stand on the page of records, under the same names."""
    board = (ROOT / "docs" / "leaderboard.md").read_text(encoding="utf-8")
    table = README.split("<!-- leaderboard: written")[1].split("<!-- leaderboard ends")[0]
    rows = re.findall(r"^\| [^|]*\[(\w+)\]\(docs/records/\1\) \| ([^|]+) \|", table, re.MULTILINE)
    told = dict(re.findall(r"^\| \[(\w+)\]\(records/\1\) \| ([^|]+) \|", board, re.MULTILINE))
    first = re.findall(r"^\| --- .*\n\| \[(\w+)\]\(records", board, re.MULTILINE)
    assert rows and [name for name, _ in rows] == first and all(told[name] == loss for name, loss in rows)
    published = re.findall(r"^\| published.*?\| ([\d.]+) ", table, re.MULTILINE)
    last = re.findall(r"^\| 938 \| (.*) \|$", board, re.MULTILINE)[0].split(" | ")
    assert published == [last[1], last[3]]  # by the honest metric: SGD, AdamW


def test_the_index_has_every_page_once_and_every_page_says_what_it_is_for():
    pages = sorted(path.name for path in (ROOT / "docs").glob("*.md") if path.name != "README.md")
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^(\d+)\. \[[^]]+\]\((\w+\.md)\)", index, re.MULTILINE)
    assert sorted(page for _, page in listed) == pages
    assert [int(number) for number, _ in listed] == [*range(1, len(listed) + 1)]
    for name in pages:
        heading, first = (ROOT / "docs" / name).read_text(encoding="utf-8").split("\n\n")[:2]
        assert heading.startswith("# ") and re.match(r"[A-Z`\"]", first) and first.rstrip().endswith((".", ":")), name


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_heading_that_is_linked_exists(path):
    for link in re.findall(r"\]\(([^):]*#[^)]+)\)", path.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        page = (path.parent / name if name else path).read_text(encoding="utf-8")
        headings = [re.sub(r"[^\w\- ]", "", line.lower()) for line in re.findall(r"^#+ (.*)$", page, re.MULTILINE)]
        assert anchor in [heading.replace(" ", "-") for heading in headings], link


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_name_inside_the_package_exists(path):
    text = path.read_text(encoding="utf-8").split("\n## From Frontpage before")[0]  # has the names of before
    for name in re.findall(r"`(frontpage(?:\.\w+)+)`", text):
        resolve_name(name)


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "src/frontpage/README.md"])
def test_every_folder_that_takes_a_new_file_exists(name):
    """`attention/x.py` and `configs/model/x.yaml` say where a new file goes: the folder must be there."""
    text = (ROOT / name).read_text(encoding="utf-8")
    named = re.findall(r"`((?:\w+/)+)(?:x\.\w+)?`", text)
    assert named
    for folder in named:
        assert (ROOT / folder).is_dir() or (ROOT / "src/frontpage" / folder).is_dir() or folder in INSIDE, folder


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_is_mentioned_exists(path):
    text = path.read_text(encoding="utf-8")
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    inside = r"(?:configs|src|tests|scripts|docs|\.ci|\.github)/[\w./-]*[\w/]"
    mentioned = [name for name in re.findall(rf"(?<![\w/.])({inside})", text) if not re.search(r"/x\.\w+$", name)]
    for name in {link for link in links if link}:
        assert (path.parent / name).exists(), name
    for name in mentioned:
        assert (ROOT / name).exists(), name


def test_the_tree_is_the_repository():
    house = (ROOT / "src" / "frontpage" / "README.md").read_text(encoding="utf-8")
    tree = next(block for kind, block in blocks_of(house) if block.startswith("train.py "))
    named = {line.split()[0].rstrip("/") for line in tree.splitlines()}
    package = {path.name for path in (ROOT / "src" / "frontpage").iterdir() if (path / "__init__.py").exists()}
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split("\n")
    top = {name.split("/")[0] for name in tracked if "/" in name} or {"configs", "src", "tests", "scripts"}
    assert package <= named
    assert top - {"src", ".github"} <= named
    for line in tree.splitlines():
        name = line.split()[0]
        assert (ROOT / ("src/frontpage" if line.startswith("  ") else "") / name).exists(), name


def test_the_diagram_is_the_config():
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    diagram = next(block for kind, block in blocks_of(page) if block.startswith("configs/experiment"))
    rows = re.findall(r"(configs/\S+\.yaml) +(\w+) +(\S+)$", diagram, re.MULTILINE)
    assert len(rows) >= 6
    for config, name, file in rows:
        target = OmegaConf.load(ROOT / config)._target_
        assert target.endswith(f".{name}")
        if file != "(torch)":
            assert file == "src/" + target.removesuffix(f".{name}").replace(".", "/") + ".py"


def test_every_experiment_is_in_the_table():
    page = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert {*listed} >= {*options("experiment")} and len(listed) == len({*listed})


def test_a_run_leaves_what_the_page_says(tmp_path):
    run = train_tiny(tmp_path / "run")
    tree = next(block for kind, block in blocks_of(RUNS) if block.startswith("logs/runs/"))
    assert {line.split()[0].rstrip("/") for line in tree.splitlines()[1:]} == {path.name for path in run.rglob("*")}
    section = RUNS.split("`run.json` is strict JSON")[1].split("```")[0]
    named, record = {*re.findall(r"`(\w+)`", section)}, json.loads((run / "run.json").read_text())
    assert {*record} <= named
    assert named - {*record} == {"running", "finished", "interrupted", "pruned", "failed", "final", "best", "test"}
