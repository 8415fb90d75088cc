"""One image at a time: bit depths, colours, orientation, masks, DICOM."""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from omnibench.errors import IntegrityError, SetupError
from omnibench_plugins.datasets.folder.dicom import read_dicom
from omnibench_plugins.datasets.folder.images import image_size, read_image, read_mask
from omnirad.data.dicom import windowed

RAMP = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_grey_png_stays_grey_and_exact(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(RAMP))
    assert np.array_equal(read_image(path), RAMP)
    assert image_size(path) == (6, 8)


def test_sixteen_bits_are_stretched_from_minimum_to_maximum(tmp_path: Path) -> None:
    deep = (np.arange(12).reshape(3, 4) * 1000 + 500).astype(np.uint16)
    image = read_image(saved(tmp_path / "a.png", Image.fromarray(deep)))
    assert image.dtype == np.float32
    assert image == pytest.approx((deep - 500.0) / 11_000, abs=1e-6)


def test_a_constant_deep_image_is_black_not_nan(tmp_path: Path) -> None:
    flat = np.full((3, 3), 700, np.uint16)
    assert (read_image(saved(tmp_path / "a.png", Image.fromarray(flat))) == 0).all()


def write_deep_png(path: Path, values: np.ndarray, colour: int, orientation: int = 1) -> Path:
    """Writes 16 bits a channel (PNG specification; Pillow cannot)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width = values.shape[:2]
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.ascontiguousarray(values, dtype=">u2").view(np.uint8).reshape(height, width, -1)
    filtered = np.diff(pixels, axis=1, prepend=np.uint8(0))  # filter 1: less the pixel before
    rows = b"".join(b"\1" + row.tobytes() for row in filtered)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))
        + chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    return path


DEEP = np.arange(1, 61, dtype=np.uint16).reshape(4, 5, 3) * 50  # 50 to 3000: 12 of 16 bits


@pytest.mark.parametrize(("colour", "channels"), [(2, [0, 1, 2]), (6, [0, 1, 2, 0])])
def test_sixteen_bit_colour_is_stretched_with_all_its_bits(
    tmp_path: Path, colour: int, channels: list[int]
) -> None:
    path = write_deep_png(tmp_path / "a.png", DEEP[..., channels], colour)
    image = read_image(path)
    assert (image.dtype, image.shape) == (np.float32, (4, 5, 3))
    assert image == pytest.approx((DEEP - 50.0) / 2950, abs=1e-6)
    assert image_size(path) == (4, 5)


@pytest.mark.parametrize(("colour", "channels"), [(2, [0, 0, 0]), (4, [0, 1]), (6, [0, 0, 0, 1])])
def test_sixteen_bit_grey_in_several_channels_stays_grey_and_deep(
    tmp_path: Path, colour: int, channels: list[int]
) -> None:
    image = read_image(write_deep_png(tmp_path / "a.png", DEEP[..., channels], colour))
    grey = DEEP[..., 0].astype(float)
    assert image.shape == (4, 5)
    assert image == pytest.approx((grey - grey.min()) / np.ptp(grey), abs=1e-6)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_exif_orientation_of_sixteen_bit_colour_is_honoured(
    tmp_path: Path, orientation: int
) -> None:
    path = write_deep_png(tmp_path / "a.png", DEEP, 2, orientation)
    turned = {1: DEEP, 3: DEEP[::-1, ::-1], 6: np.rot90(DEEP, -1), 8: np.rot90(DEEP)}[orientation]
    assert image_size(path) == turned.shape[:2]
    assert read_image(path) == pytest.approx((turned - 50.0) / 2950, abs=1e-6)


def test_sixteen_bit_masks_in_several_channels_keep_their_values(tmp_path: Path) -> None:
    classes = np.array([[0, 1], [2, 300]], np.uint16)
    path = write_deep_png(tmp_path / "a.png", np.stack([classes] * 3, axis=-1), 2)
    assert np.array_equal(read_mask(path), classes)
    with pytest.raises(IntegrityError, match="colour image"):
        read_mask(write_deep_png(tmp_path / "b.png", DEEP, 2))


def test_damaged_sixteen_bit_colour_is_refused(tmp_path: Path) -> None:
    path = write_deep_png(tmp_path / "a.png", DEEP, 2)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"IDAT") + 10])
    for read in (read_image, read_mask, image_size):
        with pytest.raises(IntegrityError, match=r"a\.png cannot be read as PNG or JPEG"):
            read(path)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_grey_pictures_in_any_png_mode_become_grey_uint8(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray((RAMP > 100).astype(np.uint8) * 255).convert(mode)
    read = read_image(saved(tmp_path / "a.png", image))
    assert (read.dtype, read.shape) == (np.uint8, (6, 8))
    assert np.array_equal(read > 0, RAMP > 100)


def test_colour_stays_colour(tmp_path: Path) -> None:
    colour = np.stack([RAMP, RAMP[::-1], RAMP * 0], axis=-1)
    assert np.array_equal(read_image(saved(tmp_path / "a.png", Image.fromarray(colour))), colour)


def test_a_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    image = read_image(saved(tmp_path / "a.jpg", red))
    assert image.shape == (16, 16, 3)
    assert image[8, 8, 0] > 200
    assert image[8, 8, 1] < 60


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_exif_orientation_is_honoured(tmp_path: Path, orientation: int) -> None:
    picture = np.zeros((16, 32), np.uint8)
    picture[:8, :8] = 255  # bright corner
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.jpg", Image.fromarray(picture), exif=exif)
    turned = {1: picture, 3: picture[::-1, ::-1], 6: np.rot90(picture, -1), 8: np.rot90(picture)}
    expected = turned[orientation]
    assert image_size(path) == expected.shape
    assert np.abs(read_image(path).astype(int) - expected).max() < 40


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.95])
def test_a_truncated_file_is_noticed_when_only_its_size_is_asked(
    tmp_path: Path, suffix: str, share: float
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    path = saved(tmp_path / f"a{suffix}", Image.fromarray(noise))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(IntegrityError, match="cannot be read as PNG or JPEG"):
        image_size(path)
    with pytest.raises(IntegrityError, match="cannot be read as PNG or JPEG"):
        read_image(path)


def test_bytes_after_the_end_do_no_harm(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", Image.fromarray(RAMP))
    path.write_bytes(path.read_bytes() + b"trailer")
    assert image_size(path) == (6, 8)


def test_another_format_under_a_png_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(RAMP).save(path, format="BMP")
    with pytest.raises(IntegrityError, match=r"a\.png cannot be read"):
        read_image(path)


def test_palette_masks_give_indices_and_binary_masks_give_ones(tmp_path: Path) -> None:
    indices = np.array([[0, 1], [2, 3]], np.uint8)
    palette = Image.fromarray(indices)
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    assert np.array_equal(read_mask(saved(tmp_path / "p.png", palette)), indices)
    binary = Image.fromarray((indices > 1).astype(np.uint8) * 255).convert("1")
    assert np.array_equal(read_mask(saved(tmp_path / "b.png", binary)), indices > 1)


def test_grey_masks_saved_as_rgb_are_read_and_coloured_ones_refused(tmp_path: Path) -> None:
    grey = np.repeat(np.array([[0, 255], [255, 0]], np.uint8)[..., None], 3, axis=2)
    assert read_mask(saved(tmp_path / "g.png", Image.fromarray(grey))).tolist() == [
        [0, 255],
        [255, 0],
    ]
    grey[0, 0] = (255, 0, 0)
    with pytest.raises(IntegrityError, match="colour image"):
        read_mask(saved(tmp_path / "c.png", Image.fromarray(grey)))


def test_jpeg_masks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="masks must be"):
        read_mask(saved(tmp_path / "a.jpg", Image.fromarray(RAMP)))


def write_dicom(
    path: Path, pixels: np.ndarray, syntax: str = "1.2.840.10008.1.2.1", **tags: object
) -> Path:
    pydicom = pytest.importorskip("pydicom")
    from pydicom.uid import UID, SecondaryCaptureImageStorage

    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = UID(syntax)
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    header = pydicom.Dataset()
    header.file_meta = meta
    header.Rows, header.Columns = pixels.shape
    header.SamplesPerPixel, header.BitsAllocated, header.BitsStored = 1, 16, 16
    header.HighBit, header.PixelRepresentation = 15, int(pixels.dtype.kind == "i")
    header.PhotometricInterpretation = "MONOCHROME2"
    header.PixelData = pixels.tobytes()
    for tag, value in tags.items():
        setattr(header, tag, value)
    header.save_as(path, enforce_file_format=True)
    return path


CT = np.array([[0, 1024], [1064, 2048]], np.int16)  # stored; minus 1024 gives Hounsfield units


def test_dicom_is_rescaled_then_windowed(tmp_path: Path) -> None:
    path = write_dicom(
        tmp_path / "a.dcm",
        CT,
        RescaleSlope=1,
        RescaleIntercept=-1024,
        WindowCenter=40,
        WindowWidth=400,
    )
    # PS3.3 C.11.2.1.2: ((x - (c - 0.5)) / (w - 1) + 0.5), clipped.
    expected = [[0.0, (0 - 39.5) / 399 + 0.5], [(40 - 39.5) / 399 + 0.5, 1.0]]
    assert read_image(path) == pytest.approx(np.array(expected), abs=1e-6)
    assert image_size(path) == (2, 2)


def test_dicom_without_window_is_stretched(tmp_path: Path) -> None:
    assert read_image(write_dicom(tmp_path / "a.dcm", CT)) == pytest.approx(CT / 2048, abs=1e-6)


# A round field of view: the corners are filled with -2000, below the air of the picture.
PADDED = np.array([[-2000, 0, -2000], [500, 800, 1000], [-2000, 200, -2000]], np.int16)
FIELD = np.maximum(PADDED, 0) / 1000.0
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_padding_does_not_count_for_the_stretch_and_is_black(tmp_path: Path, syntax: str) -> None:
    path = write_dicom(tmp_path / "a.dcm", PADDED, syntax, PixelPaddingValue=-2000)
    assert read_image(path) == pytest.approx(FIELD, abs=1e-6)


def test_padding_is_compared_with_stored_values_before_rescaling(tmp_path: Path) -> None:
    tags = {"PixelPaddingValue": -2000, "RescaleSlope": 2, "RescaleIntercept": -1024}
    assert read_image(write_dicom(tmp_path / "a.dcm", PADDED, **tags)) == pytest.approx(
        FIELD, abs=1e-6
    )


@pytest.mark.parametrize(("value", "limit"), [(-2100, -1900), (-1900, -2100), (-2000, -2000)])
def test_padding_may_be_a_range_given_from_either_end(
    tmp_path: Path, value: int, limit: int
) -> None:
    path = write_dicom(
        tmp_path / "a.dcm", PADDED, PixelPaddingValue=value, PixelPaddingRangeLimit=limit
    )
    assert read_image(path) == pytest.approx(FIELD, abs=1e-6)


def test_padding_written_without_its_sign_is_understood(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    wrong = pydicom.DataElement(0x00280120, "US", 65536 - 2000)
    path = write_dicom(tmp_path / "a.dcm", PADDED)
    header = pydicom.dcmread(path)
    header.add(wrong)
    header.save_as(path)
    assert b"US" in path.read_bytes()
    assert read_image(path) == pytest.approx(FIELD, abs=1e-6)


def test_padding_is_black_in_inverted_and_in_windowed_images(tmp_path: Path) -> None:
    tags = {"PixelPaddingValue": -2000, "PhotometricInterpretation": "MONOCHROME1"}
    padded = PADDED == -2000
    inverted = np.where(padded, 0, 1 - FIELD)
    assert read_image(write_dicom(tmp_path / "a.dcm", PADDED, **tags)) == pytest.approx(
        inverted, abs=1e-6
    )
    window = {"WindowCenter": 500, "WindowWidth": 1000, "VOILUTFunction": "LINEAR_EXACT"}
    assert read_image(write_dicom(tmp_path / "b.dcm", PADDED, **tags, **window)) == pytest.approx(
        inverted, abs=1e-6
    )


def test_an_image_of_padding_alone_is_black(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", np.full((3, 3), 7, np.int16), PixelPaddingValue=7)
    assert (read_image(path) == 0).all()


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", CT, PhotometricInterpretation="MONOCHROME1")
    assert read_image(path) == pytest.approx(1 - CT / 2048, abs=1e-6)


def test_the_first_of_several_windows_counts(tmp_path: Path) -> None:
    one = write_dicom(tmp_path / "a.dcm", CT, WindowCenter=[1000, 9], WindowWidth=[500, 3])
    same = write_dicom(tmp_path / "b.dcm", CT, WindowCenter=1000, WindowWidth=500)
    assert np.array_equal(read_image(one), read_image(same))


def test_a_voi_table_goes_before_the_window(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    table = pydicom.Dataset()
    table.LUTDescriptor = [4, 0, 8]
    table.add_new("LUTData", "US", [255, 100, 50, 0])
    pixels = np.array([[0, 1], [2, 9]], np.uint16)
    path = write_dicom(
        tmp_path / "a.dcm", pixels, VOILUTSequence=[table], WindowCenter=1, WindowWidth=1
    )
    assert read_image(path) == pytest.approx(np.array([[255, 100], [50, 0]]) / 255, abs=1e-6)


def test_windows_follow_the_standard() -> None:
    values = np.array([-10.0, 0.0, 10.0])
    assert windowed(values, 0, 20, "LINEAR_EXACT") == pytest.approx([0, 0.5, 1])
    sigmoid = windowed(values, 0, 20, "SIGMOID")
    assert sigmoid == pytest.approx(1 / (1 + np.exp([2, 0, -2])), abs=1e-6)
    assert windowed(values, 0, 1).tolist() == [0, 1, 1]
    with pytest.raises(ValueError, match="width 0"):
        windowed(values, 0, 0)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_a_truncated_dicom_is_refused(tmp_path: Path, share: float) -> None:
    path = write_dicom(tmp_path / "a.dcm", np.zeros((64, 64), np.int16))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(IntegrityError, match=r"a\.dcm cannot be read as DICOM"):
        image_size(path)


def test_a_text_file_named_dicom_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_text("no image")
    with pytest.raises(IntegrityError, match="cannot be read as DICOM"):
        read_dicom(tmp_path / "a.dcm")


def test_several_frames_are_refused(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", CT, NumberOfFrames=3)
    with pytest.raises(IntegrityError, match="3 frames; only 2D"):
        read_image(path)


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm"])
def test_real_dicom_images_show_anatomy_in_range(name: str) -> None:
    data = pytest.importorskip("pydicom.data")
    image = read_dicom(Path(data.get_testdata_file(name, download=False)))
    assert image.ndim == 2 and image.dtype == np.float32
    assert image.min() >= 0 and image.max() <= 1
    assert image.std() > 0.1


def test_missing_pydicom_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    (tmp_path / "a.dcm").write_bytes(b"")
    with pytest.raises(SetupError, match=r"pip install 'omnibench\[dicom\]'"):
        read_image(tmp_path / "a.dcm")
