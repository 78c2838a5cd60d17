"""Datasets of TensorFlow Datasets, read without TensorFlow.

tfds:NAME[:SPLIT]   a TFDS name (mnist, celeb_a_hq/256, imagenet2012:5.1.0), in $TFDS_DATA_DIR or
                    ~/tensorflow_datasets
tfds:DIR[:SPLIT]    the folder of one version, with its dataset_info.json

By default, SPLIT is train or validation, depending on the config field; TFDS's slices like
train[:90%] work. The dataset must be built in ArrayRecord format, which allows random access;
nothing is downloaded or built here.
"""

import os
import re

from gsjax.data import remote
from gsjax.data.images import ImageSource, MissingData, UnreadableImage
from gsjax.errors import UserError, first_line

_SPEC = re.compile(r"(.+?)(?::([A-Za-z_][\w\[\]%:+ -]*))?")


class TfdsSource(ImageSource):
    """One split of a TFDS dataset.

    Args:
      records: a tfds.data_source with DeserializeMethod.RAW_BYTES.
      feature: name of the feature with the image.
      title: name of the dataset and split.
    """

    def __init__(self, records, feature: str, title: str):
        self._records = records
        self._feature = feature
        self._title = title

    def __len__(self) -> int:
        return len(self._records)

    def name(self, index: int) -> str:
        """Returns the name of the dataset and split, and the index of the image."""
        return f"{self._title}[{int(index)}]"

    def encoded(self, index: int) -> bytes:
        """Returns the content of the image file in record `index`."""
        from tensorflow_datasets.proto import tf_example_pb2

        # From the raw record: TFDS would decode all other features too, and its decoder ignores
        # orientation and transparency.
        try:
            example = tf_example_pb2.Example.FromString(self._records[int(index)])
            return example.features.feature[self._feature].bytes_list.value[0]
        except Exception as e:  # a damaged record raises RuntimeError, DecodeError, …
            raise UnreadableImage(self.name(index), f"{e or type(e).__name__}") from e

    def identity(self) -> str:
        """Returns dataset, version and split, and the number of images."""
        return f"{self._title}, {len(self)} images"


def open_tfds(where: str, split: str) -> TfdsSource:
    """Opens NAME[:SPLIT] or DIR[:SPLIT]; see above.

    Raises:
      MissingData: it is missing, not in ArrayRecord format, or has no such split or image.
      UserError: tensorflow-datasets is not installed.
    """
    # If TensorFlow is installed, TFDS would import it to read gs://.
    os.environ.setdefault("EPATH_USE_TF", "false")
    try:
        import tensorflow_datasets as tfds
        from tensorflow_datasets.core.read_only_builder import builder_from_files
    except ImportError as e:
        raise UserError(
            "",
            f"tfds: cannot be read without '{e.name}'",
            "pip install tensorflow-datasets importlib_resources",
        ) from e

    match = _SPEC.fullmatch(where)
    assert match is not None
    name, given = match.groups()
    folder = os.path.expanduser(name)
    is_folder = name.startswith(("/", ".", "~")) or "://" in name
    is_folder = is_folder or os.path.isfile(os.path.join(folder, "dataset_info.json"))
    try:
        if is_folder:
            builder = tfds.builder_from_directory(folder)
        else:
            builder = builder_from_files(name, data_dir=os.environ.get("TFDS_DATA_DIR"))
    except Exception as e:  # TFDS's own, whatever reading its files raises
        raise MissingData(_not_found(name, is_folder, e)) from e
    split = given or split
    records = _open_split(builder, split)
    title = f"tfds:{builder.info.full_name}:{split}"
    return TfdsSource(records, _image_feature(builder), title)


def _not_found(name: str, is_folder: bool, error: Exception) -> str:
    if is_folder:
        return f"the folder '{name}' is not a TFDS data set ({first_line(error)})"
    folder = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return (
        f"the TFDS data set '{name}' is not in {folder} ($TFDS_DATA_DIR); build it there with\n"
        f"  pip install tensorflow && tfds build {name} --file_format=array_record\n"
        "or name the folder that holds its dataset_info.json: tfds:DIR"
    )


def _open_split(builder, split: str):
    import tensorflow_datasets as tfds

    splits = sorted(builder.info.splits)
    if re.split(r"[\[+]", split)[0] not in splits:
        raise MissingData(
            f"the TFDS data set {builder.info.full_name} has no split '{split}'; "
            f"there are {', '.join(splits) or 'none'}"
        )
    try:
        # The same as tfds.data_source, without its search for code that builds the dataset.
        records = builder.as_data_source(
            split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
        )
    except (NotImplementedError, ValueError) as e:
        forms = builder.info.available_file_formats()
        if not any(form.value == "array_record" for form in forms):
            form = ", ".join(form.value for form in forms) or "no known form"
            raise MissingData(
                f"the TFDS data set {builder.info.full_name} is built as {form}; training "
                f"reads it as ArrayRecord: tfds build {builder.info.name} "
                "--file_format=array_record (with another --data_dir, or after deleting it)"
            ) from e
        raise MissingData(f"tfds: the split '{split}' cannot be read: {e}") from e
    # Every process keeps all of them open.
    remote.raise_open_file_limit(sum(split.num_shards for split in builder.info.splits.values()))
    if not len(records):
        raise MissingData(f"the split '{split}' of {builder.info.full_name} is empty")
    return records


def _image_feature(builder) -> str:
    """Returns the name of the image feature: the only image, or the one called "image"."""
    import numpy as np
    import tensorflow_datasets as tfds

    features = builder.info.features
    images = [
        name
        for name, feature in dict(features).items()
        if isinstance(feature, tfds.features.Image) and feature.np_dtype in (np.uint8, np.uint16)
    ]
    title = f"the TFDS data set {builder.info.full_name}"
    if not images:
        raise MissingData(f"{title} has no image; its features are {', '.join(dict(features))}")
    if len(images) > 1 and "image" not in images:
        raise MissingData(
            f"{title} has several images ({', '.join(sorted(images))}), none called 'image'"
        )
    return "image" if "image" in images else images[0]
