"""The commands of an installation: each does from any folder what its program does, `python scripts/evaluate.py` etc.

`[project.scripts]` in pyproject.toml gives them their names. The programs lie beside the configs: in a checkout, and
in an installed package, where setup.py puts them.
"""

import functools
import runpy

from frontpage.command.config_folder import ROOT


def _run(program: str) -> None:
    """As Python runs a file: it parses the command line, prints, and ends with its exit status."""
    runpy.run_path(str(ROOT / program), run_name="__main__")


train = functools.partial(_run, "train.py")
evaluate = functools.partial(_run, "scripts/evaluate.py")
generate = functools.partial(_run, "scripts/generate.py")
score = functools.partial(_run, "scripts/score.py")
contrast = functools.partial(_run, "scripts/contrast.py")
export = functools.partial(_run, "scripts/export.py")
report = functools.partial(_run, "scripts/report.py")
runs = functools.partial(_run, "scripts/collect_runs.py")
sweep_report = functools.partial(_run, "scripts/sweep_report.py")
promote = functools.partial(_run, "scripts/promote.py")
playground = functools.partial(_run, "scripts/playground.py")
memory = functools.partial(_run, "scripts/memory.py")
doctor = functools.partial(_run, "scripts/doctor.py")
