"""Bytes to pixels for pretraining: bit depths, colours, orientation."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from random_images import RNG

from omnirad.data.decoding import decode, luma
from omnirad.data.files import open_folder
from omnirad.errors import DataError


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


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
