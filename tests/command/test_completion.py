"""Promise of completion in bash: what docs/automation.md tells to type offers groups, options and keys, at once."""

import os
import re
import shlex
import subprocess
import sys

import pytest
from tiny import ROOT, options

PAGE = (ROOT / "docs" / "automation.md").read_text(encoding="utf-8").split("\n## Completion in a shell\n")[1]
SET_UP = re.search(r"```bash\n(.*?)```", PAGE, re.DOTALL)[1]
# bash gives these to the function that `complete -F` names.
ASK = """
COMP_LINE={line}; COMP_POINT=${{#COMP_LINE}}; COMP_WORDS=($COMP_LINE); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
COMPREPLY=(); $(complete -p "${{COMP_WORDS[0]}}" | sed 's/.* -F \\([^ ]*\\).*/\\1/'); printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def offered(tmp_path):
    """What a TAB behind each of some lines offers, in a shell that was set up as the page says."""
    start = "from frontpage.command.installed_commands import train; train()"
    for name, words in {"python": [], "frontpage-train": ["-c", start]}.items():
        command = tmp_path / name
        command.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, *words])} "$@"\n')
        command.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}

    def ask(line):
        script = SET_UP + ASK.format(line=shlex.quote(line))
        ended = subprocess.run(["bash", "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True)
        assert ended.stderr == "", ended.stderr
        return ended.stdout.split()

    return ask


@pytest.mark.slow
@pytest.mark.parametrize("start", ["python train.py", "frontpage-train"])
def test_it_offers_the_options_of_a_group(offered, start):
    expected = {f"model/attention={name}" for name in options("model/attention") if name.startswith("s")}
    assert {*offered(f"{start} model/attention=s")} == expected


@pytest.mark.slow
def test_it_offers_groups_and_keys(offered):
    assert {*offered("python train.py optimizer")} == {"optimizer=", "optimizer."}
    assert offered("python train.py trainer.max_s") == ["trainer.max_steps="]
