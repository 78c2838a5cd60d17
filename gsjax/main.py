"""Trains an inpainting model: python -m gsjax.main --config=configs/photos.py

Running the same command again resumes a stopped run. Set any field of the config on the command
line: --config.train.steps=1000

To train on several machines, start the same command on each, with a shared --workdir. TPU pods and
SLURM (srun) are detected; elsewhere, set --coordinator, --processes and --process.
"""

import os
import time
from pathlib import Path

from absl import flags
from ml_collections.config_flags import config_flags

from gsjax import cli
from gsjax.errors import UserError
from gsjax.training import termination

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "a config file, or the name of one that comes with gsjax, such as photos"
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "the folder of the run; by default runs/ and the name of the config file"
)
COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "HOST:PORT of process 0, with --processes and --process; not needed on TPU pods and SLURM",
)
PROCESSES = flags.DEFINE_integer("processes", None, "number of processes")
PROCESS = flags.DEFINE_integer("process", None, "index of this process, from 0")
flags.mark_flag_as_required("config")


def main() -> None:
    """Trains and prints a one-line summary."""
    termination.exit_at_once_on_signals()
    if "://" in (WORKDIR.value or ""):
        raise UserError(
            "--workdir",
            f"{WORKDIR.value} is not a folder",
            "mount the bucket (gcsfuse, s3fs) and name a folder in it",
        )
    import jax  # imported here, since --help needs no JAX

    from gsjax import distributed
    from gsjax.kernels.backends import check_platform
    from gsjax.training import compiled_steps
    from gsjax.training.train import train

    cli.enable_compilation_cache()
    start = time.monotonic()
    name = Path(config_flags.get_config_filename(flags.FLAGS["config"])).stem
    workdir = Path(os.path.expanduser(WORKDIR.value or f"runs/{name}"))
    distributed.join(COORDINATOR.value, PROCESSES.value, PROCESS.value)
    check_platform()
    with distributed.exit_on_failure():
        outcome = train(CONFIG.value, workdir)
    if outcome.stopped:
        if jax.process_index() == 0:
            after = f"stopped on request after step {outcome.steps}"
            print(f"{after}; the same command resumes there")
        compiled_steps.exit_if_compiling()
        return
    if jax.process_index() != 0:
        return
    minutes, seconds = divmod(round(time.monotonic() - start), 60)
    values = outcome.values
    psnr, mean = values["val/psnr_hole"], values["val/psnr_hole_mean_fill"]
    print(
        f"done: {outcome.steps} steps in {minutes}:{seconds:02d}; PSNR in the hole "
        f"{psnr:.2f} dB ({psnr - mean:+.2f} over the mean color), SSIM {values['val/ssim']:.3f}; "
        f"see {workdir}/samples"
    )


if __name__ == "__main__":
    cli.run(main)
