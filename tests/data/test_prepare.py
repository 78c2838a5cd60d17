"""The command itself, in processes of its own, as a user runs it."""

import dataclasses
import hashlib
import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import filelock
import numpy as np
import pytest
from PIL import Image

from gsjax.data import records
from gsjax.data.images import UnreadableImage, decode_image
from gsjax.data.shard_workers import Settings, shrink
from gsjax.data.shards import _check_folder, default_shards
from gsjax.data.sources import open_source
from gsjax.errors import UserError

ROOT = Path(__file__).parents[2]
COUNT = 32


def command(source, output, **fields):
    flags = [f"--{name}={value}" for name, value in fields.items()]
    base = [sys.executable, "-m", "gsjax.data.prepare", f"--source={source}", f"--output={output}"]
    return base + flags


def run(arguments, **options):
    return subprocess.run(
        arguments, cwd=ROOT, capture_output=True, text=True, timeout=100, **options
    )


def picture(i, size=(480, 360)):
    waves = np.random.default_rng(i).uniform(20, 90, 6)
    y, x = np.mgrid[: size[1], : size[0]]
    channels = [127 + 120 * np.sin(x / waves[c] + y / waves[c + 3]) for c in range(3)]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


def digests(folder):
    files = sorted(Path(folder).glob("*.array_record"))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def names_in(folder):
    source = open_source(f"array_record:{folder}", "train", "data.train")
    return [source.name(i).partition(" in ")[0] for i in range(len(source))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """32 photographs in two folders, and two files that are none."""
    folder = tmp_path_factory.mktemp("photographs")
    for i in range(COUNT):
        path = folder / "ab"[i % 2] / f"{i}.jpg"
        path.parent.mkdir(exist_ok=True)
        picture(i).save(path, quality=95)
    whole = (folder / "a" / "0.jpg").read_bytes()
    (folder / "a" / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "b" / "text.png").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def arguments(folder):
    """The flags of a run whose every shard takes a moment."""
    return dict(source=f"folder:{folder}", size=320, shards=16, workers=2, lossless=True)


@pytest.fixture(scope="module")
def straight(arguments, tmp_path_factory):
    """What a run without a break leaves and says."""
    output = tmp_path_factory.mktemp("prepared") / "straight"
    return output, run(command(output=output, **arguments))


def test_a_killed_run_goes_on_without_duplicate_or_loss(arguments, straight, tmp_path):
    output = tmp_path / "killed"
    process = subprocess.Popen(
        command(output=output, **arguments), cwd=ROOT, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while len(list(output.glob(".prepare/[0-9]*.json"))) < 4:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    workers = children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert workers
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline  # they end by themselves
        time.sleep(0.01)
    kept = {file: file.stat().st_mtime_ns for file in output.glob("*.array_record")}
    refused = open_error(f"array_record:{output}")
    last = run(command(output=output, **arguments))
    assert last.returncode == 0, last.stderr
    noted = [file for file in kept if file.stat().st_mtime_ns == kept[file]]
    assert 4 <= len(noted) < 16  # not made again
    assert "is not finished: run the command" in refused
    assert digests(output) == digests(straight[0])
    assert (output / "index.json").read_text() == (straight[0] / "index.json").read_text()
    names = names_in(output)
    assert sorted(names) == sorted(f"{'ab'[i % 2]}/{i}.jpg" for i in range(COUNT))
    assert not (output / ".prepare").exists()


def test_ctrl_c_ends_it_with_one_line_while_its_workers_start(arguments, tmp_path):
    process = subprocess.Popen(
        command(output=tmp_path / "interrupted", **arguments),
        **{"cwd": ROOT, "stderr": subprocess.PIPE, "text": True},
        # As in a terminal, where Ctrl-C goes to all processes of the command.
        **{"start_new_session": True},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while len(children(process.pid)) < 3:  # two workers, and what looks after their semaphores
        assert process.poll() is None
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "interrupted"
    assert "Traceback" not in errors


def children(pid):
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [child for task in tasks for child in (task / "children").read_text().split()]


def open_error(spec):
    with pytest.raises(UserError) as caught:
        open_source(spec, "train", "data.train")
    return str(caught.value)


def test_what_cannot_be_read_is_left_out_and_reported(straight, folder):
    output, done = straight
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("done: 32 images in 16 shards, ")
    assert "; 2 skipped; train with --config.data.train=array_record:" in done.stdout
    index = json.loads((output / "index.json").read_text())
    reasons = {skipped["name"]: skipped["reason"] for skipped in index["skipped"]}
    assert reasons.keys() == {f"{folder}/a/truncated.jpg", f"{folder}/b/text.png"}
    assert "truncated" in reasons[f"{folder}/a/truncated.jpg"]
    assert reasons[f"{folder}/b/text.png"] == "not an image file"
    for name, reason in reasons.items():
        assert f"skipped {name}: {reason}\n" in done.stdout


def test_the_index_describes_every_shard(straight, folder):
    output, _ = straight
    index = json.loads((output / "index.json").read_text())
    assert index["settings"]["version"] == 1
    assert index["settings"]["source"] == f"folder:{folder}"
    assert index["settings"]["size"] == 320
    assert index["records"] == COUNT == sum(shard["records"] for shard in index["shards"])
    assert {shard["file"]: shard["sha256"] for shard in index["shards"]} == digests(output)
    for shard in index["shards"]:
        assert shard["bytes"] == (output / shard["file"]).stat().st_size


def test_shards_can_be_made_of_shards(straight, tmp_path):
    done = run(command(f"array_record:{straight[0]}", tmp_path / "out", size=64, shards=1))
    assert done.returncode == 0, done.stderr
    assert sorted(names_in(tmp_path / "out")) == sorted(names_in(straight[0]))


def test_shards_are_mixed(straight):
    first = [int(name[2:-4]) for name in names_in(straight[0])]
    assert first != sorted(first)
    assert {name % 2 for name in first[:6]} == {0, 1}


def test_a_finished_folder_is_left_alone_and_mended(arguments, straight, tmp_path):
    output = tmp_path / "copy"
    output.mkdir()
    for file in straight[0].iterdir():
        os.link(file, output / file.name)
    before = digests(output)
    lost, *rest = sorted(output.glob("*.array_record"))
    lost.unlink()
    lost.write_bytes(b"half")
    kept = [file.stat().st_mtime_ns for file in rest]
    assert "it is damaged; run the command" in open_error(f"array_record:{output}")
    again = run(command(output=output, **arguments))
    assert again.returncode == 0, again.stderr
    assert digests(output) == before
    assert [file.stat().st_mtime_ns for file in rest] == kept


def test_other_settings_and_other_files_are_refused(arguments, straight, folder, tmp_path):
    output = straight[0]
    before = digests(output)
    changed = run(command(output=output, **(arguments | {"size": 64, "seed": 1})))
    (tmp_path / "list.txt").write_text(f"{folder}/a/0.jpg\n")
    foreign = run(command(f"folder:{folder}", tmp_path))
    file = run(command(f"folder:{folder}", tmp_path / "list.txt"))
    (tmp_path / "busy" / ".prepare").mkdir(parents=True)
    many = run(command(f"list:{tmp_path}/list.txt", tmp_path / "out", shards=2))
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "index.json").write_text("[1]")
    strange = run(command(f"folder:{folder}", tmp_path / "strange"))
    with filelock.FileLock(tmp_path / "busy" / ".prepare" / "lock"):
        busy = run(command(f"list:{tmp_path}/list.txt", tmp_path / "busy"))
    cases = [
        (busy, f"error: --output: another process is writing '{tmp_path}/busy'"),
        (changed, f"error: --output: '{output}' was made with other settings: size 320, now 64; "),
        (foreign, f"error: --output: the folder '{tmp_path}' holds other files (list.txt, "),
        (file, f"error: --output: '{tmp_path}/list.txt' is a file, not a folder"),
        (strange, f"error: --output: '{tmp_path}/strange/index.json' was not written by this"),
        (many, "error: --shards: 2 is more than 1, the number of images"),
    ]
    for result, message in cases:
        assert result.returncode == 2
        assert result.stderr.startswith(message), result.stderr
    assert digests(output) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["busy", "list.txt", "strange"]


def test_a_full_disk_is_told_and_leaves_no_half_of_a_shard(arguments, tmp_path):
    """The limit on a file's size stands for the disk."""
    output = tmp_path / "full"

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (90_000, 90_000))

    full = run(command(output=output, **arguments), preexec_fn=limit)
    assert full.returncode == 2
    assert "error: --output: " in full.stderr
    assert "cannot be written: write() failed: File too large" in full.stderr
    assert "the same command resumes" in full.stderr
    assert "Traceback" not in full.stderr
    assert not list(output.glob(".prepare/*.part"))
    assert not list(output.glob("*.array_record"))


def test_short_sides_are_reduced_and_never_enlarged(folder):
    settings = Settings("", "", 1, size=128)
    large = (folder / "a" / "0.jpg").read_bytes()
    image = decode_image(shrink(large, settings), "")
    assert image.shape == (128, 171, 3)
    exact = np.asarray(picture(0).resize((171, 128), Image.Resampling.LANCZOS))
    assert np.abs(image.astype(int) - exact).mean() < 1
    for size in (360, 500, 0):
        assert shrink(large, Settings("", "", 1, size=size)) == large
    lossless = shrink(large, Settings("", "", 1, size=300, lossless=True))
    assert lossless.startswith(b"\x89PNG")
    with pytest.raises(UnreadableImage):
        shrink(large[:2000], settings)


def test_smaller_images_of_other_formats_become_jpegs_if_asked(folder):
    content = io.BytesIO()
    picture(0).save(content, "WEBP", quality=95)
    webp, jpeg = content.getvalue(), (folder / "a" / "0.jpg").read_bytes()
    for size in (500, 0):
        settings = Settings("", "", 1, size=size, reencode=True)
        made = shrink(webp, settings)
        assert made.startswith(b"\xff\xd8")
        error = decode_image(made, "").astype(int) - decode_image(webp, "")
        assert np.abs(error).mean() < 1
        assert shrink(jpeg, settings) == jpeg
        png = shrink(webp, dataclasses.replace(settings, lossless=True))
        assert png.startswith(b"\x89PNG")
        np.testing.assert_array_equal(decode_image(png, ""), decode_image(webp, ""))
    assert shrink(webp, Settings("", "", 1, size=500)) == webp


def test_shards_of_an_older_version_without_reencode_are_finished(folder, tmp_path):
    settings = Settings("s", "i", 3)
    index = {"settings": {k: v for k, v in vars(settings).items() if k != "reencode"}}
    (tmp_path / records.INDEX).write_text(json.dumps(index))
    _check_folder(str(tmp_path), settings)
    with pytest.raises(UserError, match="reencode False, now True"):
        _check_folder(str(tmp_path), dataclasses.replace(settings, reencode=True))


def test_the_number_of_shards_suits_few_and_many_images():
    assert [default_shards(n) for n in (1, 64, 65, 1249, 30_000, 1_800_000)] == [
        1, 1, 2, 16, 16, 440,
    ]  # fmt: skip


def test_a_file_system_with_a_scheme_takes_the_shards(folder, tmp_path):
    """local:// is the disk, but every file goes through fsspec as in a bucket."""
    (tmp_path / "list.txt").write_text("\n".join(f"{folder}/a/{i}.jpg" for i in (0, 2, 4, 6)))
    fields = dict(source=f"list:{tmp_path}/list.txt", size=128, shards=2)
    done = run(command(output=f"local://{tmp_path}/out", **fields))
    assert done.returncode == 0, done.stderr
    assert sorted(names_in(tmp_path / "out")) == [f"{folder}/a/{i}.jpg" for i in (0, 2, 4, 6)]
    assert records.open_records(str(tmp_path / "out"))[0].shape == (128, 171, 3)
    assert not (tmp_path / "out" / ".prepare").exists()
    again = run(command(output=f"local://{tmp_path}/out", **(fields | {"size": 64})))
    assert "was made with other settings" in again.stderr


def test_names_that_are_no_utf8_are_kept_readable(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, content in ((b"caf\xe9.png", None), (b"b\xe9.png", b"no image")):
        path = os.fsencode(folder) + b"/" + name
        with open(path, "wb") as file:
            picture(0, (32, 24)).save(file, "PNG") if content is None else file.write(content)
    done = run(command(f"folder:{folder}", tmp_path / "out", workers=1))
    assert done.returncode == 0, done.stderr
    assert "b\ufffd.png: " in done.stdout
    assert names_in(tmp_path / "out") == ["caf\ufffd.png"]
