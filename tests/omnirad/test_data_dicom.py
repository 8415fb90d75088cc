"""DICOM files to pretrain on: found, rescaled, windowed, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from omnirad.data.files import open_dicom
from omnirad.data.manifest import write_manifest
from omnirad.errors import DataError


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
