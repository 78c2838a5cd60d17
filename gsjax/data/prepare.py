"""Makes ArrayRecord shards of a data set: python -m gsjax.data.prepare --source=SPEC --output=DIR

SPEC is folder:DIR, list:FILE, tfds:NAME[:SPLIT], array_record:GLOB or photos. Train on the
result with --config.data.train=array_record:DIR

Images whose short side is longer than --size are reduced to it, their aspect is kept, so that
parts can still be cut out at random. Smaller ones keep their files, unless --reencode is given;
none is ever enlarged. An image that cannot be read is left out and listed in index.json with the
reason. The same command resumes where it was stopped or killed.
"""

import os

from absl import flags

from gsjax import cli
from gsjax.errors import UserError, at

SOURCE = flags.DEFINE_string("source", None, "the data set, such as folder:DIR or tfds:NAME:train")
OUTPUT = flags.DEFINE_string("output", None, "the folder of the shards; it may be gs://BUCKET/DIR")
SIZE = flags.DEFINE_integer(
    "size", 256, "pixels of the short side; 0: every file stays as it is", 0, 2**16
)
QUALITY = flags.DEFINE_integer(
    "quality", 95, "of the JPEGs that reduced images become", lower_bound=1, upper_bound=100
)
LOSSLESS = flags.DEFINE_bool("lossless", False, "make reduced images PNGs instead")
REENCODE = flags.DEFINE_bool(
    "reencode", False, "make JPEGs of smaller images too, if they are none: WebP decodes slowly"
)
SHARDS = flags.DEFINE_integer(
    "shards", None, "files; without it, one for 4,096 images, or some more for few", 1, 10**5
)
WORKERS = flags.DEFINE_integer(
    "workers", None, "processes; without it, one for every core", 1, 2**10
)
SEED = flags.DEFINE_integer("seed", 0, "of the order of the images", 0, 2**32 - 1)
flags.mark_flags_as_required(["source", "output"])


def main() -> None:
    """Makes the shards and prints a summary."""
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
