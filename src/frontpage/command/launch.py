"""Launch: what torchrun or srun has told this process of the others that it has started with it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SEARCH = {"--multirun", "-m", "hydra.mode=MULTIRUN"}  # words of a command whose processes are workers, each by itself


@dataclass(frozen=True)
class Launch:
    """One process among those of a run; `each` is None where nodes have different numbers of them."""

    by: str  # torchrun or srun
    rank: int
    processes: int
    nodes: int
    each: int | None  # processes of a node
    attempt: str = "0"  # torchrun may start them all again


def read_launch(environment: Mapping[str, str], words: Sequence[str] = ()) -> Launch | None:
    """What the variables say; None without a launcher, for one task of Slurm, and for a command that is a search.

    >>> read_launch({"SLURM_STEP_ID": "0", "SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4",
    ...              "SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_TASKS_PER_NODE": "2(x2)"})
    Launch(by='srun', rank=3, processes=4, nodes=2, each=2, attempt='0')
    """
    if SEARCH & set(words):
        return None
    if "TORCHELASTIC_RUN_ID" in environment:  # it wins inside of srun, as with Lightning
        names = ("RANK", "WORLD_SIZE", "GROUP_WORLD_SIZE", "LOCAL_WORLD_SIZE")
        rank, processes, nodes, each = (int(environment[name]) for name in names)
        attempt = environment.get("TORCHELASTIC_RESTART_COUNT", "0")
        return Launch("torchrun", rank, processes, nodes, each if nodes * each == processes else None, attempt)
    if "SLURM_STEP_ID" in environment and "SLURM_PROCID" in environment:  # a batch script itself is no step
        names = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NUM_NODES")
        rank, processes, nodes = (int(environment.get(name, 1)) for name in names)
        even = re.fullmatch(r"(\d+)(\(x\d+\))?", environment.get("SLURM_STEP_TASKS_PER_NODE", "1"))
        if processes > 1:
            return Launch("srun", rank, processes, nodes, int(even[1]) if even else None)
    return None
