"""Images in ArrayRecord files: the format of a record, and shards as a source.

A record is a MessagePack map with three entries in this order: `gsjax`, the version of the format
(1); `name`, the name of the image; `image`, the content of an image file (JPEG, PNG, …) as bytes. A
record that is just the content of an image file is also read, so that shards from other tools can
be used.

gsjax.data.prepare writes INDEX beside its shards, and PROGRESS until it is done.
"""

import bisect
import itertools
import json
import os
from concurrent.futures import ThreadPoolExecutor

import msgpack

from gsjax.data import remote
from gsjax.data.images import ImageSource, MissingData, UnreadableImage
from gsjax.files import absolute

VERSION = 1
SUFFIX = ".array_record"
INDEX = "index.json"
PROGRESS = ".prepare"
_START = msgpack.packb({"gsjax": 0, "name": 0, "image": 0})[:7]  # up to the first key


def pack(name: str, image: bytes) -> bytes:
    """Returns the record of an image file."""
    return msgpack.packb({"gsjax": VERSION, "name": name, "image": image})


def unpack(record: bytes) -> tuple[str, bytes]:
    """Returns the name of a record ("" if it has none) and the content of its image file.

    Raises:
      ValueError: the record has another version, or is damaged.
    """
    if not record.startswith(_START):
        return "", record
    fields = msgpack.unpackb(record)
    if fields["gsjax"] != VERSION:
        raise ValueError(f"a record of version {fields['gsjax']}; this gsjax reads {VERSION}")
    if not isinstance(fields.get("name"), str) or not isinstance(fields.get("image"), bytes):
        raise ValueError("a record without a name or image")
    return fields["name"], fields["image"]


class RecordSource(ImageSource):
    """The images of ArrayRecord files, one after the other.

    `shards` maps their paths, local or gs://, to their numbers of records.
    """

    def __init__(self, shards: dict[str, int]):
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        self._paths = list(shards)
        self._ends = list(itertools.accumulate(shards.values()))
        # With a range, it need not open every file to count. It opens files when they are first
        # read, once per process, also after pickling.
        self._records = ArrayRecordDataSource([f"{p}[0:{n}]" for p, n in shards.items()])

    def __len__(self) -> int:
        return self._ends[-1]

    def name(self, index: int) -> str:
        """Returns the image's own name, if it has a readable one, and its position."""
        name, place = self._own_name(index), self._place(int(index))
        return f"{name} in {place}" if name else place

    def short_name(self, index: int) -> str:
        """Returns the image's own name, or its position."""
        return self._own_name(index) or self._place(int(index))

    def encoded(self, index: int) -> bytes:
        """Returns the content of the image file in record `index`."""
        try:
            return unpack(self._records[int(index)])[1]
        except Exception as e:  # damaged records raise RuntimeError, msgpack's exceptions, …
            raise UnreadableImage(self.name(index), f"{e or type(e).__name__}") from e

    def _own_name(self, index: int) -> str:
        try:
            return unpack(self._records[int(index)])[0]
        except Exception:  # as in `encoded`
            return ""

    def _place(self, index: int) -> str:
        shard = bisect.bisect_right(self._ends, index)
        return f"{self._paths[shard]}[{index - self._ends[shard - 1] if shard else index}]"

    def identity(self) -> str:
        """Returns the paths with their numbers of records."""
        return json.dumps([self._paths, self._ends])


def open_records(where: str) -> RecordSource:
    """Opens the ArrayRecord files that match a pattern, or all `*.array_record` in a folder.

    Raises:
      MissingData: there are none, they are incomplete, or prepare has not finished them.
    """
    if where.startswith("file://"):
        where = where.removeprefix("file://")
    elif remote.is_remote(where) and not where.startswith("gs://"):
        raise MissingData(f"'{where}': ArrayRecord files are read from the disk or gs:// only")
    is_folder = os.path.isdir(where)  # checked first: its name may contain wildcards
    if not is_folder and not where.endswith(SUFFIX) and not any(c in where for c in "*?["):
        if not remote.is_remote(where):
            what = "is not a folder" if os.path.exists(where) else "does not exist"
            raise MissingData(f"'{where}' {what}; give a folder or a pattern like DIR/*{SUFFIX}")
        is_folder = True
    if is_folder:
        where = where.rstrip("/") if remote.is_remote(where) else str(absolute(where))
        names = remote.listing(where, remote.sizes)
        paths = [remote.join(where, name) for name in sorted(names) if name.endswith(SUFFIX)]
        _check_finished(where, paths, all_of_them=True)
    else:
        paths = remote.listing(where, remote.glob)
        paths = [path for path in paths if path.rpartition("/")[2] != INDEX]
        for folder in sorted({path.rpartition("/")[0] for path in [*paths, where]}):
            _check_finished(folder, [p for p in paths if p.rpartition("/")[0] == folder])
    if not paths:
        none = f"'{where}' holds no *{SUFFIX} file" if is_folder else f"no file matches '{where}'"
        raise MissingData(none)
    with ThreadPoolExecutor(32) as pool:
        counts = list(pool.map(count, paths))
    shards = {path: n for path, n in zip(paths, counts, strict=True) if n}
    if not shards:
        raise MissingData(f"the files '{where}' hold no records")
    remote.raise_open_file_limit(len(shards))  # every process keeps all shards open
    return RecordSource(shards)


def count(path: str) -> int:
    """Returns the number of records in an ArrayRecord file.

    Raises:
      MissingData: the file is missing or incomplete.
    """
    from array_record.python.array_record_module import ArrayRecordReader

    reader = ArrayRecordReader(path, "readahead_buffer_size:0,max_parallelism:0")
    if reader.ok():
        records = reader.num_records()
        reader.close()
        return records
    reason = "it ends early"
    try:
        reader.read([0])
    except RuntimeError as e:
        reason = str(e).partition(";")[0] or reason
    raise MissingData(f"'{path}' is no whole ArrayRecord file: {reason}")


def _check_finished(folder: str, paths: list[str], all_of_them: bool = False) -> None:
    """Raises MissingData if prepare made this folder and its files do not match the index.

    Args:
      folder: the folder with the index.
      paths: the files in it that will be read.
      all_of_them: whether these must be all files of the index.
    """
    again = "run the command of gsjax.data.prepare that made it again"
    try:
        index = json.loads(remote.read(remote.join(folder, INDEX)))
        shards = {shard["file"]: shard["bytes"] for shard in index["shards"]}
    except FileNotFoundError:
        if remote.exists(remote.join(folder, f"{PROGRESS}/settings.json")):
            raise MissingData(f"'{folder}' is not finished: {again}") from None
        return  # not made by prepare
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return  # not an index of prepare
    sizes = remote.sizes(folder)
    lost = sorted(shards.keys() - sizes.keys()) if all_of_them else []
    if lost:
        what = f"'{lost[0]}' and {len(lost) - 1} more" if len(lost) > 1 else f"'{lost[0]}'"
        raise MissingData(f"'{folder}' lacks {what}: {again}, or copy it again")
    for path in paths:
        name = path.rpartition("/")[2]
        if name in shards and shards[name] != sizes[name]:
            raise MissingData(
                f"'{path}' has {sizes[name]} bytes, not {shards[name]}: it is damaged; {again}"
            )
