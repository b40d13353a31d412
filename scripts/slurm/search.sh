#!/bin/bash
# Workers of one search, each a task of an array; the study in PostgreSQL, or in a journal on the shared file system:
#   sbatch --array=1-8 --gpus=1 scripts/slurm/search.sh hparams_search=gpt data.path=titles.parquet \
#     hydra.sweeper.storage=postgresql://me@host/sweeps
# Each ends by itself when the study has its trials. One that is preempted, or whose time ends, hands its trial back.
# Options of sbatch before the script win over those below; PYTHON names another interpreter than .venv/bin/python.
# Run so far: on a Slurm of one machine's CPU (tests/sweeps/test_slurm.py); on no GPU.
#SBATCH --job-name=frontpage-search
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@120
#SBATCH --open-mode=append
#SBATCH --output=slurm-%A_%a.out

srun "${PYTHON:-.venv/bin/python}" train.py --multirun "$@"
status=$?
# A signal, 120 seconds before the time ends: the trial is queued again, and whoever is free continues it.
[ "$status" -eq 130 ] && exec scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
exit "$status"
