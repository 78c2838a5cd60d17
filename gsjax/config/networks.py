"""Fields of the networks and their losses."""

from gsjax.config.fields import Group, field

PRECISIONS = ("float32", "bfloat16")
# Upper bounds are far above anything trained so far, and low enough for building a model to end.
STEPS = 2**31 - 1  # the state counts them in 32 bits
_CHANNELS = 2**16


class Model(Group, resume="fixed"):
    """The generator: encoder, Gaussians, rasterizer."""

    patch_size: int = field(16, "side of a patch in pixels", least=1)
    overlap: int = field(1, "pixels by which a patch draws over its neighbors", least=0)
    crossfade: int = field(
        0,
        "pixels on either side of a seam over which patches blend, instead of the mean of two "
        "over model.overlap; 2 hides seams, at up to half as much rasterizing again; 0: none",
        least=0,
    )
    gaussians: int = field(324, "Gaussians per patch; a square number", least=1, most=2**16)
    features: int = field(12, "channels that a Gaussian is decoded from", least=2, most=2**12)
    fold: int = field(
        0,
        "side in pixels of the cells that a smaller encoder works on; 0: the published encoder",
        least=0,
    )
    width: int = field(64, "channels of the encoder's first layer", least=1, most=_CHANNELS)
    max_width: int = field(1024, "largest number of channels of a layer", least=1, most=_CHANNELS)
    downs: int = field(3, "how often the encoder halves the resolution", least=1, most=16)
    blocks: int = field(9, "residual blocks at the lowest resolution", least=0, most=256)
    skips: bool = field(True, "decoder layers see the encoder's; for the published encoder only")
    semantic: bool = field(True, "the class token of a frozen DINO modulates the encoder")
    mask_channel: bool = field(False, "the encoder sees which pixels are known")
    residual_colors: bool = field(False, "colors are corrections of a coarse fill")
    normalize_images: bool = field(
        False,
        "take out brightness and contrast before the encoder, put them back into the colors; needs "
        "model.residual_colors",
    )
    borrow: bool = field(
        False,
        "patches in the hole copy detail from known ones by attention; needs model.residual_colors",
    )
    normalize_splats: bool = field(False, "divide what is drawn by the summed opacity")
    backend: str = field(
        "auto",
        "implementation of rasterizer and mixture; auto: the fastest on this machine",
        choices=("auto", "xla", "pallas", "triton"),
        resume="free",
    )


class Dino(Group, resume="fixed"):
    """The frozen DINO of a run; a converted folder sets size, patch and registers."""

    size: str = field(
        "B", 'which ViT; "" in a converted folder of another size',
        choices=("ti", "S", "B", "L", "g", "")
    )  # fmt: skip
    weights: str = field(
        "",
        "a name like dinov2_vitb14, which is downloaded once; a file; a converted folder; random",
        resume="weights",
    )
    patch_size: int = field(14, "side of its patches in pixels", least=1, most=64)
    registers: int = field(0, "register tokens", least=0, most=64)
    image_size: int = field(224, "side in pixels to which DINO's input is resized", least=1)
    normalize: bool = field(
        True,
        "standardize by ImageNet's mean and deviation; the published code does not",
    )
    sees: str = field(
        "masked",
        "what it is shown of a masked image; masked: black holes, as published; known: holes "
        "filled coarsely, without the patches that are mostly hole",
        choices=("masked", "known"),
    )


class Lpips(Group, resume="weights"):
    """The frozen LPIPS of the perceptual loss and metric."""

    weights: str = field(
        "alex",
        'alex, vgg or squeeze, which are downloaded once; a file; a converted folder; "": none',
    )
    normalize: bool = field(
        True, "scale pixels to [-1, 1], which LPIPS expects; the published code does not"
    )


class Discriminator(Group):
    """The patch discriminator of the adversarial loss."""

    width: int = field(64, "channels of its first layer", least=1, most=_CHANNELS, resume="fixed")
    layers: int = field(
        3,
        "how often it halves the resolution; a logit sees 34, 70, 142, ... pixels a side",
        least=1,
        most=16,
        resume="fixed",
    )
    precision: str = field(
        "", 'of the discriminator alone; "": as train.precision', choices=("", *PRECISIONS)
    )


class Loss(Group, stage=True):
    """Weights of the terms in gsjax/models/losses.py, which 0 switches off, and their options."""

    l1: float = field(1.0, "weight of the absolute error of the whole image", least=0)
    hole: float = field(0.0, "weight of the squared error in the hole", least=0)
    hole_l1: float = field(0.0, "weight of the absolute error in the hole", least=0)
    known_l1: float = field(0.0, "weight of the absolute error on known pixels", least=0)
    semantic: float = field(
        1.0, "weight of the distance of the mapped class token to DINO's of the photograph", least=0
    )
    lpips: float = field(3.0, "weight of LPIPS between fill and photograph", least=0)
    spectrum: float = field(
        0.0,
        "weight of the squared difference of the Fourier amplitudes of fill and photograph, "
        "against chessboards and ripples (Lu et al. 2022, GLaMa)",
        least=0,
    )
    dino: float = field(
        0.0,
        "weight of the distance between DINO's patch tokens of fill and photograph, with "
        "or without model.semantic",
        least=0,
    )
    gan: float = field(0.3, "weight of the adversarial loss", least=0)
    features: float = field(
        0.0,
        "weight of the difference between the discriminator's features of fill and photograph "
        "(Wang et al. 2018)",
        least=0,
    )
    composite: bool = field(
        False,
        "lpips, spectrum, dino, gan, features and the discriminator see the photograph with the "
        "hole filled, so that known pixels get no gradient from them (Suvorov et al. 2022, LaMa)",
    )
    adversarial: str = field(
        "hinge",
        "hinge (Lim & Ye 2017) or logistic, the non-saturating loss (Goodfellow et al. 2014)",
        choices=("hinge", "logistic"),
    )
    patch_labels: bool = field(
        False,
        "the discriminator's patches without a hole are labeled real, and loss.gan leaves them out "
        "(LaMa, section 2.2.2); needs loss.composite",
    )
    r1: float = field(0.0, "weight of ½ |∇D|² on photographs (Mescheder et al. 2018)", least=0)
    r1_every: int = field(
        8,
        "a step computes R1 for one photograph in this many: lazy regularization (Karras et al. "
        "2020) over the batch instead of over steps",
        least=1,
        most=STEPS,
    )
    gan_start: int = field(0, "step after which the discriminator takes part", least=0, most=STEPS)
