#!/bin/bash
# One run of train.py on one node, which goes on from its checkpoint however often the job is preempted or its time ends:
#   sbatch --gpus=1 scripts/slurm/run.sh experiment=adamw_gpt data.path=titles.parquet
# Options of sbatch before the script win over those below; PYTHON names another interpreter than .venv/bin/python.
# Run so far: on a Slurm of one machine's CPU (tests/sweeps/test_slurm.py); on no GPU.
#SBATCH --job-name=frontpage
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@120
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.out

srun "${PYTHON:-.venv/bin/python}" train.py "hydra.run.dir=logs/slurm/$SLURM_JOB_ID" ckpt_path=last "$@"
status=$?
# A signal, 120 seconds before the time ends: the run has stopped behind an update and written a checkpoint.
[ "$status" -eq 130 ] && exec scontrol requeue "$SLURM_JOB_ID"
exit "$status"
