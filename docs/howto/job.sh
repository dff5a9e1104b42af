#!/bin/bash
#SBATCH --job-name=wine
#SBATCH --array=0-2                 # three seeds, a job each
#SBATCH --cpus-per-task=2
#SBATCH --time=01:00:00
#SBATCH --signal=TERM@60            # a minute before the end, to what srun started: it saves the run and exits with 143
#SBATCH --requeue
seed=$SLURM_ARRAY_TASK_ID
srun mlp-jax train wine.yaml --set seed=$seed --run-dir runs/wine-$seed --resume
status=$?
if [ $status = 143 ]; then          # not done yet: back into the queue
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_$seed"
fi
exit $status
