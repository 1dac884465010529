"""Workers as SLURM jobs, one cell at a time each; this process keeps the store and hands out the work.

From the project's folder, on a machine that stays up and that the workers can reach:

    .venv/bin/python book/cluster/slurm_dask.py --profile full

What follows the script's name is passed on to ``python -m infocap sweep``.
"""

import subprocess
import sys

from dask_jobqueue import SLURMCluster

WORKERS = 16
JOB = {
    "cores": 1,
    "processes": 1,
    "memory": "8GB",
    "walltime": "12:00:00",
    "job_extra_directives": [],  # for GPUs: ["--gres=gpu:1"], and pass --device cuda
}

if __name__ == "__main__":
    with SLURMCluster(**JOB) as cluster:
        cluster.scale(jobs=WORKERS)
        sweep = [sys.executable, "-m", "infocap", "sweep", "--scheduler", cluster.scheduler_address, *sys.argv[1:]]
        sys.exit(subprocess.run(sweep).returncode)
