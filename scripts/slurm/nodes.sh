#!/bin/bash
# One run of train.py on several nodes, a process for each GPU, which goes on from its checkpoint as run.sh does:
#   sbatch --nodes=2 --ntasks-per-node=8 --gpus-per-node=8 scripts/slurm/nodes.sh trainer=ddp experiment=adamw_gpt \
#     data.path=titles.parquet
# All nodes see the checkout, its logs/ and the titles. Options of sbatch before the script win over those below; PYTHON
# names another interpreter than .venv/bin/python. Run so far: on two nodes of a Slurm of one machine, over loopback,
# with a process on the CPU of each (tests/sweeps/test_slurm.py); on no GPU, and on no second machine.
#SBATCH --job-name=frontpage-nodes
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=4
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@120
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.out

srun "${PYTHON:-.venv/bin/python}" train.py "hydra.run.dir=logs/slurm/$SLURM_JOB_ID" ckpt_path=last "$@"
status=$?
# A signal, 120 seconds before the time ends: all have stopped behind the same update, and a checkpoint is written.
[ "$status" -eq 130 ] && exec scontrol requeue "$SLURM_JOB_ID"
exit "$status"
