"""Promises of the commands that an installation brings: each is one of the programs, by another name."""

import tomllib
from importlib.metadata import EntryPoint

import pytest
from programs import ended_by, run_script
from tiny import ROOT

from frontpage.command import installed_commands

NAMED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
OTHERS = {"frontpage-train": "train.py", "frontpage-runs": "scripts/collect_runs.py"}


def started_by(name):
    return EntryPoint(name, NAMED[name], "console_scripts").load()


def test_every_command_has_its_name():
    functions = {
        name
        for name in vars(installed_commands)
        if callable(started := getattr(installed_commands, name))
        and getattr(started, "func", None) is installed_commands._run
    }
    assert {f"frontpage-{name.replace('_', '-')}" for name in functions} == {*NAMED}


@pytest.mark.parametrize("name", NAMED)
def test_a_command_runs_the_program_of_its_name(name):
    program = OTHERS.get(name, f"scripts/{name.removeprefix('frontpage-').replace('-', '_')}.py")
    assert started_by(name).args == (program,) and (ROOT / program).is_file()


@pytest.mark.parametrize("name", sorted({*NAMED} - {"frontpage-train"}))
def test_a_command_says_what_its_script_says(name, capfd):
    helped = ended_by(capfd, started_by(name), f"/somewhere/bin/{name}", "--help")
    script = started_by(name).args[0].removeprefix("scripts/").removesuffix(".py")
    assert helped == run_script(capfd, script, "--help")
    assert helped.status == 0 and helped.stdout.startswith(f"usage: {script}.py ") and not helped.stderr
    refused = ended_by(capfd, started_by(name), f"/somewhere/bin/{name}", "--no-such-option")
    assert refused == run_script(capfd, script, "--no-such-option") and refused.status == 2


@pytest.mark.slow
def test_the_training_command_helps_and_refuses(capfd):
    helped = ended_by(capfd, started_by("frontpage-train"), "/somewhere/bin/frontpage-train", "--help")
    assert helped.status == 0 and "experiment: " in helped.stdout
    refused = ended_by(capfd, started_by("frontpage-train"), "/somewhere/bin/frontpage-train", "experiment=nowhere")
    assert refused.status == 2 and "experiment=nowhere" in refused.stderr


def test_the_page_of_commands_is_complete():
    page = (ROOT / "docs/automation.md").read_text(encoding="utf-8")
    for name in NAMED:
        assert f"| `{name}` | `python {started_by(name).args[0]}` |" in page
