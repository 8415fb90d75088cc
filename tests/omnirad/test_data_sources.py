"""Where pretraining images come from, and what is said about those that cannot be read."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from omnirad.data.decoding import decode, luma
from omnirad.data.files import open_dicom, open_folder
from omnirad.data.manifest import COLUMNS, csv_line, encoded, parsed, write_manifest
from omnirad.data.mixture import Mixture
from omnirad.data.mni152 import open_mni152
from omnirad.data.npz import open_npz
from omnirad.data.sources import Sample, stratum_codes
from omnirad.data.specs import DataSpec, open_sources, parse
from omnirad.errors import DataError, OmniradError, SetupError, UsageError

RNG = np.random.default_rng(0)


def save(path: Path, pixels: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = RNG.integers(0, 256, (9, 7), dtype=np.uint8) if pixels is None else pixels
    Image.fromarray(values).save(path)
    return path


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


# --- decoding -------------------------------------------------------------------------


def test_grey_of_8_bit_is_used_as_stored() -> None:
    pixels = np.array([[0, 7], [200, 255]], dtype=np.uint8)
    assert (decode(png(pixels), "x") == pixels).all()


def test_grey_of_16_bit_is_stretched_from_its_minimum_to_its_maximum() -> None:
    pixels = np.array([[1000, 1500], [2000, 3000]], dtype=np.uint16)
    decoded = decode(png(pixels), "x")
    # 255 * (v - 1000) / 2000: 0, 63.75, 127.5 (to even), 255.
    assert decoded.dtype == np.uint8
    assert decoded.tolist() == [[0, 64], [128, 255]]


def test_a_constant_16_bit_image_is_black() -> None:
    assert decode(png(np.full((2, 2), 9, np.uint16)), "x").tolist() == [[0, 0], [0, 0]]


def test_colour_stays_rgb_and_its_luma_is_bt601() -> None:
    pixels = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [10, 20, 30]]], dtype=np.uint8)
    decoded = decode(png(pixels), "x")
    assert (decoded == pixels).all()
    # 0.299 R + 0.587 G + 0.114 B, rounded.
    assert luma(decoded).tolist() == [[76, 150], [29, 18]]


def test_colour_with_equal_channels_becomes_grey() -> None:
    grey = RNG.integers(0, 256, (4, 5), dtype=np.uint8)
    assert (decode(png(np.repeat(grey[..., None], 3, axis=2)), "x") == grey).all()


def test_transparency_is_dropped_and_palettes_are_resolved() -> None:
    grey = RNG.integers(0, 256, (4, 5), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.merge("LA", (Image.fromarray(grey), Image.new("L", (5, 4), 3))).save(buffer, "PNG")
    assert (decode(buffer.getvalue(), "x") == grey).all()
    palette = Image.fromarray(grey).convert("RGB").quantize(256)
    buffer = io.BytesIO()
    palette.save(buffer, "PNG")
    assert (decode(buffer.getvalue(), "x") == np.asarray(palette.convert("L"))).all()


def test_exif_orientation_is_honoured(tmp_path: Path) -> None:
    pixels = np.zeros((8, 16), dtype=np.uint8)
    pixels[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, quality=100)
    source = open_folder(tmp_path)
    assert source.image(0).shape == (16, 8)
    assert source.image(0)[0].mean() > 250
    assert source.inspect(0)[:2] == (16, 8)


def test_16_bit_colour_is_refused_since_half_of_it_would_be_lost() -> None:
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + crc

    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    data = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\x00" + b"\x01\x02" * 3))
        + chunk(b"IEND", b"")
    )
    with pytest.raises(DataError, match=r"x\.png has 16 bits in each of several channels.*store"):
        decode(data, "x.png")


# --- folders --------------------------------------------------------------------------


def test_a_folder_is_read_recursively_in_the_order_of_paths(tmp_path: Path) -> None:
    for name in ("b/z.PNG", "a.jpeg", "b/c/y.jpg", ".hidden/x.png", "notes.txt"):
        save(tmp_path / name) if not name.endswith("txt") else (tmp_path / name).touch()
    source = open_folder(tmp_path)
    assert [source.sample(i).id for i in range(len(source))] == ["a.jpeg", "b/c/y.jpg", "b/z.PNG"]
    assert source.sample(0).source == tmp_path.name


def test_of_a_split_folder_only_the_training_part_is_read(tmp_path: Path) -> None:
    for name in ("train/a.png", "train/b.png", "valid/c.png", "test/d.png", "e.png"):
        save(tmp_path / name)
    assert [s.id for s in open_folder(tmp_path).samples] == ["train/a.png", "train/b.png"]
    both = open_folder(tmp_path, ("train", "val"))
    assert [(s.id, s.split) for s in both.samples][-1] == ("valid/c.png", "val")


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no image")
    with pytest.raises(DataError, match=r"holds no PNG or JPEG image.*name another folder"):
        open_folder(tmp_path)
    with pytest.raises(SetupError, match=r"there is no folder .*nowhere"):
        open_folder(tmp_path / "nowhere")


def test_unreadable_images_are_counted_and_named_together(tmp_path: Path) -> None:
    for name in "abcdef":
        save(tmp_path / f"{name}.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[:-20])
    flipped = bytearray((tmp_path / "b.png").read_bytes())
    flipped[50] ^= 1
    (tmp_path / "b.png").write_bytes(flipped)
    (tmp_path / "c.png").write_bytes(b"")
    (tmp_path / "d.png").write_bytes(b"GIF89a")
    manifest = tmp_path / "manifest.csv"
    with pytest.raises(DataError) as caught:
        write_manifest(open_folder(tmp_path), manifest)
    text = str(caught.value)
    assert text.startswith("4 of 6 images cannot be read: a.png, b.png, c.png and 1 more")
    assert "the first says: a.png" in text and text.endswith("replace or remove them")
    assert list(tmp_path.glob("*manifest*")) == []


def test_a_truncated_jpeg_is_found_before_training(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", RNG.integers(0, 256, (64, 64), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"1 of 1 images cannot be read: a\.jpg"):
        write_manifest(open_folder(tmp_path), tmp_path / "m.csv")


def test_an_image_that_vanishes_is_named(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    source = open_folder(tmp_path)
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError, match=r"a\.png cannot be read: No such file"):
        source.image(0)


# --- manifest -------------------------------------------------------------------------


def test_the_manifest_has_a_line_for_every_image_and_its_digest_follows_them(
    tmp_path: Path,
) -> None:
    import csv
    import hashlib

    folder = tmp_path / "images"
    for name in ("a.png", "b, with comma.png"):
        save(folder / name)
    table = tmp_path / "manifest.csv"
    digest = write_manifest(open_folder(folder), table)
    assert digest == hashlib.sha256(table.read_bytes()).hexdigest()
    rows = list(csv.DictReader(table.open()))
    assert tuple(rows[0]) == COLUMNS
    assert rows[1]["id"] == "b, with comma.png"
    assert (rows[0]["height"], rows[0]["width"]) == ("9", "7")
    assert rows[0]["sha1"] == hashlib.sha1((folder / "a.png").read_bytes()).hexdigest()
    assert write_manifest(open_folder(folder), tmp_path / "again.csv") == digest
    save(folder / "a.png", np.zeros((9, 7), np.uint8))
    assert write_manifest(open_folder(folder), tmp_path / "changed.csv") != digest


def test_a_line_of_the_manifest_gives_back_its_sample_whatever_the_name() -> None:
    sample = Sample(id='a "b",\n\udcff.png', source="s", modality="CT", anatomy="", label="x")
    cells = [sample.id, "s", "CT", "", "x", "train", 1, 2, "00"]
    assert parsed(encoded(csv_line(cells))) == sample


# --- archives -------------------------------------------------------------------------


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_of_an_archive_only_the_training_part_is_read(
    tmp_path: Path, write: Callable[..., None]
) -> None:
    arrays = {
        f"{s}_images": RNG.integers(0, 256, (4, 6, 6), dtype=np.uint8) for s in ("train", "test")
    }
    write(tmp_path / "set.npz", **arrays, train_labels=np.array([[3], [1], [0], [2]]))
    source = pickle.loads(pickle.dumps(open_npz(tmp_path / "set.npz")))
    assert len(source) == 4
    assert (source.image(2) == arrays["train_images"][2]).all()
    assert source.sample(1) == Sample(id="train/1", source="set", label="1")
    mapped = isinstance(source._images["train"], np.memmap)
    assert mapped == (write is np.savez)
    both = open_npz(tmp_path / "set.npz", ("train", "test"))
    assert both.sample(4).id == "test/0" and (both.image(4) == arrays["test_images"][0]).all()


def _pickled(path: Path) -> None:
    np.savez(path, train_images=np.array([{}, {}], dtype=object))


def _floats(path: Path) -> None:
    np.savez(path, train_images=np.zeros((2, 3, 3), np.float32))


def _other_names(path: Path) -> None:
    np.savez(path, images=np.zeros((2, 3, 3), np.uint8))


def _truncated(path: Path) -> None:
    np.savez(path, train_images=np.zeros((20, 30, 30), np.uint8))
    path.write_bytes(path.read_bytes()[:5000])


def _labels_of_others(path: Path) -> None:
    np.savez(path, train_images=np.zeros((2, 3, 3), np.uint8), train_labels=np.zeros((3, 1)))


@pytest.mark.parametrize(
    ("write", "text"),
    [
        (_pickled, "damaged or no .npz archive"),
        (_floats, r"train_images is float32 \[2, 3, 3\]; uint8"),
        (_other_names, "has no train_images; it holds images"),
        (_truncated, "damaged or no .npz archive"),
        (_labels_of_others, "3 labels for 2 images in train"),
    ],
)
def test_an_archive_that_holds_something_else_is_refused(
    tmp_path: Path, write: Callable[[Path], None], text: str
) -> None:
    write(tmp_path / "set.npz")
    with pytest.raises(DataError, match=text):
        open_npz(tmp_path / "set.npz")


# --- DICOM ----------------------------------------------------------------------------


def save_dicom(path: Path, pixels: np.ndarray, **elements: object) -> None:
    pydicom = pytest.importorskip("pydicom")
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    header = pydicom.Dataset()
    header.file_meta = meta
    header.SOPClassUID, header.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    header.Rows, header.Columns = pixels.shape[-2:]
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.BitsAllocated = header.BitsStored = 16
    header.HighBit, header.PixelRepresentation = 15, int(pixels.dtype == np.int16)
    header.PixelData = pixels.tobytes()
    for name, value in elements.items():
        setattr(header, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    header.save_as(path, enforce_file_format=True)


CT = np.array([[0, 1000], [1040, 2024]], dtype=np.int16)  # stored; HU = stored - 1024
BRAIN = {
    "RescaleSlope": 1,
    "RescaleIntercept": -1024,
    "WindowCenter": [40, 300],
    "WindowWidth": [80, 600],
}


def test_dicom_is_rescaled_and_shown_through_its_first_window(tmp_path: Path) -> None:
    save_dicom(tmp_path / "a.dcm", CT, **BRAIN)
    # PS3.3, C.11.2.1.2: (x - 39.5) / 79 + 0.5 of -1024, -24, 16, 1000.
    expected = [[0, 0], [round(((16 - 39.5) / 79 + 0.5) * 255), 255]]
    assert open_dicom(tmp_path).image(0).tolist() == expected


def test_monochrome1_is_inverted_and_padding_is_black(tmp_path: Path) -> None:
    save_dicom(
        tmp_path / "a.dcm",
        np.array([[100, 200], [300, 9999]], dtype=np.uint16),
        PhotometricInterpretation="MONOCHROME1",
        PixelPaddingValue=9999,
    )
    assert open_dicom(tmp_path).image(0).tolist() == [[255, 127], [0, 0]]


def test_dicom_files_are_found_by_suffix_or_by_content(tmp_path: Path) -> None:
    save_dicom(tmp_path / "a.dcm", CT)
    save_dicom(tmp_path / "series/1.2.840.7", CT)
    save_dicom(tmp_path / "series/IM0001", CT)
    (tmp_path / "DICOMDIR").write_text("not marked")
    (tmp_path / "b.txt").write_text("no")
    found = [sample.id for sample in open_dicom(tmp_path).samples]
    assert found == ["a.dcm", "series/1.2.840.7", "series/IM0001"]


def test_what_is_no_single_dicom_image_is_refused(tmp_path: Path) -> None:
    save_dicom(tmp_path / "film.dcm", np.zeros((3, 2, 2), np.uint16), NumberOfFrames=3)
    (tmp_path / "text.dcm").write_text("no DICOM at all")
    save_dicom(tmp_path / "wide.dcm", CT, **{**BRAIN, "WindowWidth": 0})
    with pytest.raises(DataError, match=r"3 of 3 images.*film\.dcm has 3 frames"):
        write_manifest(open_dicom(tmp_path), tmp_path / "m.csv")
    with pytest.raises(DataError, match=r"text\.dcm cannot be read as DICOM"):
        open_dicom(tmp_path).image(1)


# --- MNI152 ---------------------------------------------------------------------------


def test_the_templates_training_slices_are_those_of_the_benchmark() -> None:
    from omnibench_plugins.datasets import mni152_slices

    volume = mni152_slices.read_volume()
    theirs = {
        (s.axis, s.position, s.split)
        for axis in range(3)
        for s in mni152_slices.slices(volume, axis)
    }
    ours = open_mni152(("train", "val", "test"))
    assert {(s.axis, s.position, s.split) for s in ours.slices} == theirs
    train = open_mni152()
    assert len(train) == 180 and {s.split for s in train.slices} == {"train"}
    axial = mni152_slices.tissue_splits()["train"]
    assert [train.sample(i).id for i in range(60)] == [f"axial/{p}" for p in axial.ids]
    assert all((train.image(i) == axial.image(i)).all() for i in range(60))


# --- mixtures and texts ---------------------------------------------------------------


def test_a_mixture_lines_sources_up_and_tells_equal_names_apart(tmp_path: Path) -> None:
    for folder, count in (("x/images", 2), ("y/images", 1), ("z", 3)):
        for number in range(count):
            save(tmp_path / folder / f"{number}.png")
    mixture = open_sources([f"folder:{tmp_path / name}" for name in ("x/images", "y/images", "z")])
    assert isinstance(mixture, Mixture)
    assert (len(mixture), mixture.name) == (6, "images+images#2+z")
    assert [mixture.sample(i).source for i in range(6)] == ["images"] * 2 + ["images#2"] + ["z"] * 3
    assert (mixture.image(5) == open_folder(tmp_path / "z").image(2)).all()
    codes, names = stratum_codes(mixture)
    assert names == ("images", "images#2", "z")
    assert codes.tolist() == [0, 0, 1, 2, 2, 2]
    with pytest.raises(IndexError):
        mixture.image(6)


def test_texts_name_a_kind_and_a_path() -> None:
    assert parse("folder:a:b") == DataSpec("folder", Path("a:b"))
    assert parse("mni152") == DataSpec("mni152", None)


@pytest.mark.parametrize(
    ("texts", "splits", "text"),
    [
        (["foldr:x"], ["train"], r"no kind of data 'foldr'.*Did you mean folder\?"),
        (["images"], ["train"], r"Write KIND:PATH with KIND one of folder, dicom, npz"),
        (["npz:"], ["train"], r"names no path; write npz:PATH"),
        (["mni152:x"], ["train"], "mni152 takes no path"),
        (["mni152", "mni152"], ["train"], "named more than once"),
        ([], ["train"], "no data is named"),
        (["mni152"], ["valid"], r"splits \['valid'\]: name one or more of train, val, test"),
        (["mni152"], [], "name one or more"),
    ],
)
def test_texts_that_make_no_sense_are_refused(
    texts: list[str], splits: list[str], text: str
) -> None:
    with pytest.raises(UsageError, match=text) as caught:
        open_sources(texts, splits)
    assert isinstance(caught.value, OmniradError) and caught.value.exit_code == 2


def test_parsing_texts_imports_nothing_heavy() -> None:
    code = (
        "import sys; from omnirad.data.specs import parse; parse('npz:x');"
        "print(sorted({'numpy', 'torch', 'pandas', 'PIL', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_real_images_at_hand_open_as_one_mixture(test_data: Path, tmp_path: Path) -> None:
    data = test_data / "data"
    source = open_sources(
        [
            f"npz:{data / 'medmnist' / 'pneumoniamnist.npz'}",
            f"npz:{data / 'medmnist' / 'breastmnist_64.npz'}",
            f"folder:{data / 'hannover_cxr'}",
            f"folder:{data / 'roco_ccby'}",
            "mni152",
        ]
    )
    # pretraining.md section 11: 4708 + 546 + 243 + 900 training images; 180 slices of MNI152.
    assert len(source) == 4708 + 546 + 243 + 900 + 180
    assert len(write_manifest(source, tmp_path / "m.csv")) == 64
