"""Speed and memory of one training step, plain and with the options of `config.train`.

python -m benchmarks.step --config=configs/photos.py [--config.KEY=VALUE …] [--rounds=N]

The config's data must be available. Every variant sees the same batch and starts from the same
parameters; the discriminator takes part if a loss term needs it. Nothing is donated, so the state
counts twice in memory; *MB* is the compiler's estimate of temporary memory. For a run in stages,
it is the step of the last stage.
"""

import jax
from absl import flags
from ml_collections import ConfigDict
from ml_collections.config_flags import config_flags

from benchmarks import measure
from gsjax import cli, sharding
from gsjax.data.pipeline import training_batches
from gsjax.models import losses
from gsjax.models.build import build_networks
from gsjax.trained.dino import load_dino
from gsjax.trained.lpips import load_lpips
from gsjax.training.checks import check_config
from gsjax.training.stages import plan
from gsjax.training.state import init_state
from gsjax.training.step import make_train_step

CONFIG = config_flags.DEFINE_config_file("config", None, "the config file, one of configs/")
flags.mark_flag_as_required("config")
flags.declare_key_flag("rounds")

WAYS = {
    "as configured": {},
    "bfloat16": {"precision": "bfloat16"},
    "two parts": {"accumulate": 2},
    "recompute": {"recompute": True},
}


def main() -> None:
    """Measures and prints."""
    sources = check_config(CONFIG.value)
    config = plan(CONFIG.value)[-1].config
    mesh = sharding.make_mesh(config.mesh.data, config.mesh.fsdp)
    batches = training_batches(config, source=sources.training)
    batch = next(batches)
    batches.close()
    batch = sharding.put_batch({name: batch[name] for name in ("image", "known")}, mesh)
    programs = {name: program(config, way, mesh, batch) for name, way in WAYS.items()}
    figures = measure.compare(programs, measure.ROUNDS.value)
    first = figures["as configured"].seconds
    print(f"{measure.device_name()}; batch {config.train.batch_size} of {config.data.image_size}")
    print(
        measure.table(
            [
                {
                    "way": name,
                    "ms per step": 1e3 * took.seconds,
                    "images/s": config.train.batch_size / took.seconds,
                    "ratio": first / took.seconds,
                    "MB": took.temporary_bytes / 1e6,
                }
                for name, took in figures.items()
            ]
        )
    )


def program(config: ConfigDict, way: dict, mesh: jax.sharding.Mesh, batch: dict):
    """Returns a step with the `train` fields of `way`, and its arguments."""
    config = config.copy_and_resolve_references()
    config.train.update(way)
    dino, dino_variables = load_dino(config)
    lpips, lpips_variables = load_lpips(config.lpips)
    networks = build_networks(config, dino, lpips)
    step = sharding.on_mesh(make_train_step(config, networks), mesh)
    frozen = {"dino": dino_variables, "lpips": lpips_variables}
    state = init_state(config, networks, mesh)
    return lambda *args: step(*args, adversarial=losses.is_adversarial(config.loss)), (
        state,
        frozen,
        batch,
    )


if __name__ == "__main__":
    cli.run(main)
