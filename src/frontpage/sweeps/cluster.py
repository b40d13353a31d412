"""What a launcher of Slurm jobs needs of the cluster, asked before a search begins."""

import subprocess

from frontpage.command.errors import BadValue
from frontpage.command.notices import notice

SLURM = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"


def check_launcher(target: str | None) -> None:
    """Raise a UserError where `launcher=slurm` would wait for ever.

    submitit learns from Slurm's accounting that a job has ended without a result; a cluster without accounting never
    says so of one that was killed.
    """
    if target != SLURM:
        return
    try:
        asked = subprocess.run(["sacct", "--noheader", "--jobs=1"], capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        raise BadValue("launcher", "slurm", "needs Slurm's commands (sacct, sbatch), which are not here") from None
    except subprocess.TimeoutExpired:
        notice("launcher=slurm: sacct gives no answer, so a job that is killed may never be noticed")
        return
    if "disabled" in asked.stderr:
        workers = "without Slurm's accounting a killed job is waited for for ever; sbatch scripts/slurm/search.sh"
        raise BadValue("launcher", "slurm", f"{workers} starts workers that need none")
