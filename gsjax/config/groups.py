"""All fields of a config, each declared once; `gsjax.config.fields` describes declarations."""

from gsjax.config.fields import Group, field, fields_of
from gsjax.config.networks import PRECISIONS, STEPS, Dino, Discriminator, Loss, Lpips, Model

_IMAGES = 2**20  # far above what has been trained


class Data(Group, resume="data"):
    """Photographs, and how examples are cut from them."""

    train: str = field("", "photos, folder:DIR, list:FILE, array_record:GLOB or tfds:NAME[:SPLIT]")
    validation: str = field(
        "", "like data.train; photos holds some pictures out for this", resume="free"
    )
    help: str = field("", "how to get the data; shown when it is missing", resume="free")
    image_size: tuple[int, int] = field(
        (256, 256),
        "height and width in pixels; multiples of the patch size",
        least=1,
        most=2**13,
        stage=True,
    )
    crop: str = field(
        "resize",
        "resize: the whole image, squeezed; random: a random part of it",
        choices=("resize", "random"),
        stage=True,
    )
    crop_scale: tuple[float, float] = field(
        (0.5, 1.0),
        "smallest and largest side of a random part, relative to the largest that fits; "
        "0: from parts that are not downsampled",
        least=0,
        most=1,
        stage=True,
    )
    crop_distribution: str = field(
        "uniform",
        "how the side of a random part is drawn; log: each doubling is equally likely",
        choices=("uniform", "log"),
        stage=True,
    )
    flip: bool = field(False, "mirror half of the training images", stage=True)
    workers: int = field(
        4,
        "processes that read images; 0: threads, for small machines and data",
        least=0,
        most=2**10,
        resume="free",
    )
    prefetch: int = field(8, "batches kept ready", least=1, most=2**10, resume="free")


class Masks(Group, resume="data", stage=True):
    """Holes that are drawn for training."""

    kinds: tuple[str, ...] = field(
        ("irregular", "free_form"),
        "one is drawn for each example: irregular, free_form, center, rectangles, files:DIR",
    )
    curriculum: tuple[tuple[int, float, float], ...] = field(
        ((0, 0.2, 0.2),),
        "entries (step, low, high): from that step on, holes cover low to high of the image's area",
    )


class Optimizer(Group, stage=True):
    """AdamW, one for the generator and one for the discriminator."""

    learning_rate: float = field(2e-4, "learning rate of the generator, after warm-up", least=0)
    discriminator_rate: float = field(
        1.0, "learning rate of the discriminator, as a multiple of the generator's", least=0
    )
    warmup_steps: int = field(
        0, "steps over which the learning rate rises from 0", least=0, most=STEPS
    )
    schedule: str = field(
        "steps",
        "how the learning rate falls: in steps at decay_at, along a cosine, or linearly after hold",
        choices=("steps", "cosine", "linear"),
    )
    decay_at: tuple[int, ...] = field(
        (), "for schedule steps: the steps at which the rate is multiplied by decay_factor", least=1
    )
    decay_factor: float = field(0.2, "for schedule steps: see decay_at", above=0, most=1)
    hold: float = field(
        0.6,
        "for schedule linear: fraction of the steps at the full rate, before it falls to 0",
        least=0,
        below=1,
    )
    betas: tuple[float, float] = field(
        (0.9, 0.999), "decay rates of Adam's two moments", least=0, below=1
    )
    weight_decay: float = field(1e-3, "decoupled; multiplied by the learning rate", least=0)
    clip_norm: float = field(
        1.0, "largest norm of a network's gradient; larger ones are scaled down", above=0
    )


class Train(Group):
    """The run: its length, batch and precision."""

    steps: int = field(
        100_000, "steps of the run; 0 if it has stages, which have their own", least=0, most=STEPS
    )
    stages: tuple[str, ...] = field(
        (), "names of the run's stages in order, set by add_stage; none: the run is one stage"
    )
    batch_size: int = field(
        8, "images in a step, over all devices", least=1, most=_IMAGES, resume="data", stage=True
    )
    accumulate: int = field(
        1,
        "parts into which a batch is split, computed one after another",
        least=1,
        most=_IMAGES,
        stage=True,
    )
    precision: str = field(
        "float32",
        "precision of all networks; the rasterizer always uses float32",
        choices=PRECISIONS,
        stage=True,
    )
    recompute: bool = field(
        False,
        "recompute blocks in the backward pass: less memory for a third more work",
        stage=True,
    )
    ema: float = field(
        0.999,
        "decay of the generator's average, which is validated and kept; 0: no average",
        least=0,
        below=1,
        stage=True,
    )
    max_skipped: int = field(
        10, "stop after so many consecutive steps with a NaN or infinite loss", least=1, most=STEPS
    )


class Log(Group):
    """What is logged to metrics.jsonl and TensorBoard."""

    every: int = field(100, "steps between two lines of metrics", least=1, most=STEPS)


class Checkpoint(Group):
    """What is kept to resume from and to fill with."""

    every: int = field(5_000, "steps between two checkpoints", least=1, most=STEPS)
    keep: int = field(3, "how many of the latest checkpoints are kept", least=1, most=STEPS)
    best: str = field(
        "psnr_hole", 'validation metric by which the best generator is kept too; "": it is not'
    )


class Validate(Group):
    """Validation during training; the same holes every time."""

    every: int = field(5_000, "steps between two validations", least=1, most=STEPS)
    images: int = field(64, "how many examples are filled", least=1, most=_IMAGES)
    kinds: tuple[str, ...] = field(("irregular", "free_form"), "kinds of holes, like masks.kinds")
    bands: tuple[tuple[float, float], ...] = field(
        ((0.2, 0.4), (0.4, 0.6)),
        "(low, high) parts of the image that are hole, each with its own scores",
    )
    dino: bool = field(
        False,
        "also log distances of DINO's tokens of fill and photograph and, with model.semantic, how "
        "close DINO's token of the masked image and the mapped one come to the photograph's",
    )
    center: bool = field(True, "also score a central hole of half the height and width")
    samples: int = field(8, "rows of the sample grid", least=1, most=_IMAGES)


class Fill(Group):
    """How trained weights fill pictures of any size."""

    rim: float = field(
        1.0,
        "how far into a hole a crop paints before a coarser one takes over, as a fraction of half "
        "its core",
        above=0,
        most=1,
    )


class Mesh(Group):
    """Devices along the axes of the mesh; -1: all that the other axis leaves."""

    data: int = field(-1, "devices along the axis that divides batches only", least=-1)
    fsdp: int = field(1, "devices along the axis that divides batches and parameters", least=-1)


class Config(Group):
    """Fields outside of the groups."""

    seed: int = field(0, "seed of all random numbers", least=0, most=2**32 - 1, resume="data")
    initial: str = field(
        "",
        "networks to start training from: a run, a converted or packed checkpoint, photos or "
        "photos-smooth",
    )
    data = Data
    masks = Masks
    model = Model
    dino = Dino
    lpips = Lpips
    discriminator = Discriminator
    loss = Loss
    optimizer = Optimizer
    train = Train
    log = Log
    checkpoint = Checkpoint
    validate = Validate
    fill = Fill
    mesh = Mesh


FIELDS = fields_of(Config)
