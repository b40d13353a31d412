"""Promises of what a process learns from torchrun's and Slurm's variables."""

import pytest

from frontpage.command.launch import Launch, read_launch

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": "5", "WORLD_SIZE": "8", "GROUP_WORLD_SIZE": "2"}
TORCHRUN |= {"LOCAL_WORLD_SIZE": "4", "TORCHELASTIC_RESTART_COUNT": "1"}
SRUN = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2"}
SRUN |= {"SLURM_STEP_TASKS_PER_NODE": "4(x2)"}
BATCH = {"SLURM_JOB_ID": "1", "SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_NNODES": "2"}


@pytest.mark.parametrize(
    ("environment", "launch"),
    [
        ({}, None),
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "2"}, None),  # Lightning's own children
        (BATCH, None),
        (SRUN | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_TASKS_PER_NODE": "1"}, None),
        (TORCHRUN, Launch("torchrun", 5, 8, 2, 4, "1")),
        (TORCHRUN | {"WORLD_SIZE": "7"}, Launch("torchrun", 5, 7, 2, None, "1")),
        (SRUN, Launch("srun", 5, 8, 2, 4)),
        (SRUN | {"SLURM_STEP_TASKS_PER_NODE": "5,3"}, Launch("srun", 5, 8, 2, None)),
        (SRUN | TORCHRUN, Launch("torchrun", 5, 8, 2, 4, "1")),
    ],
)
def test_a_process_knows_which_of_how_many_it_is(environment, launch):
    assert read_launch(environment) == launch


@pytest.mark.parametrize("word", ["--multirun", "-m", "hydra.mode=MULTIRUN"])
def test_the_processes_of_a_search_are_workers_each_by_itself(word):
    assert read_launch(SRUN, ["train.py", word, "seed=1,2"]) is None
