"""Converts a dataset to ArrayRecord shards: python -m gsjax.data.prepare --source=SPEC --output=DIR

SPEC is folder:DIR, list:FILE, tfds:NAME[:SPLIT], array_record:GLOB or photos. Train on the shards
with --config.data.train=array_record:DIR

Images are shrunk until their short side is --size. The aspect ratio is kept, so that training can
still take random crops. Smaller images keep their files, unless --reencode is given; none are
enlarged. An unreadable image is left out, and listed in index.json with the reason. Running the
same command again resumes after a stop or a kill.
"""

import os

from absl import flags

from gsjax import cli
from gsjax.errors import UserError, at

SOURCE = flags.DEFINE_string(
    "source", None, "the dataset, such as folder:DIR or tfds:NAME:train", required=True
)
OUTPUT = flags.DEFINE_string(
    "output", None, "the folder for the shards; may be gs://BUCKET/DIR", required=True
)
SIZE = flags.DEFINE_integer(
    "size", 256, "the short side in pixels; 0 to keep every file as it is", 0, 2**16
)
QUALITY = flags.DEFINE_integer(
    "quality", 95, "JPEG quality of shrunk images", lower_bound=1, upper_bound=100
)
LOSSLESS = flags.DEFINE_bool("lossless", False, "write shrunk images as PNG instead of JPEG")
REENCODE = flags.DEFINE_bool(
    "reencode", False, "also convert smaller images to JPEG, which decodes faster than WebP and PNG"
)
SHARDS = flags.DEFINE_integer(
    "shards", None, "number of files; by default one per 4,096 images, more for few", 1, 10**5
)
WORKERS = flags.DEFINE_integer(
    "workers", None, "number of processes; by default one per core", 1, 2**10
)
SEED = flags.DEFINE_integer("seed", 0, "seed of the order of the images", 0, 2**32 - 1)


def main() -> None:
    """Makes the shards, and prints a summary."""
    from gsjax.data import remote
    from gsjax.data.shard_workers import Settings
    from gsjax.data.shards import default_shards, make_shards
    from gsjax.data.sources import open_source, require_readable

    source = open_source(SOURCE.value, "train", "--source")
    output = OUTPUT.value if remote.is_remote(OUTPUT.value) else os.path.expanduser(OUTPUT.value)
    with at("--output"):
        remote.check_scheme(output)
    shards = SHARDS.value or default_shards(len(source))
    if shards > len(source):
        raise UserError("--shards", f"{shards} is more than {len(source)}, the number of images")
    settings = Settings(
        source=SOURCE.value,
        identity=source.identity(),
        images=len(source),
        size=SIZE.value,
        quality=QUALITY.value,
        lossless=LOSSLESS.value,
        reencode=REENCODE.value,
        seed=SEED.value,
        shards=shards,
    )
    with at("--source"):
        require_readable(source)
    workers = WORKERS.value or os.cpu_count() or 1
    index = make_shards(source, settings, output, workers)
    print(
        f"done: {index['records']:,} images in {shards} shards, {index['bytes'] / 1e6:,.1f} MB; "
        f"{len(index['skipped'])} skipped; train with --config.data.train=array_record:{output}"
    )
    for skipped in index["skipped"][:10]:
        print(f"skipped {skipped['name']}: {skipped['reason']}")
    if len(index["skipped"]) > 10:
        print(f"… all of them are listed in {remote.join(output, 'index.json')}")


if __name__ == "__main__":
    cli.run(main, cleans_up=True)  # ends its workers
