"""The ranges of the numbers that a fill can be given, by option; both ends are allowed."""

RANGES: dict[str, tuple[int, int]] = {
    "threshold": (0, 254),  # of a mask
    "quality": (1, 100),  # of a JPEG
    "grow": (0, 1000),  # pixels
    "feather": (0, 1000),  # pixels
}
