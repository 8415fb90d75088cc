"""Faults of Python, packages and plugins are found, with what mends them."""

from __future__ import annotations

import importlib.metadata
from types import SimpleNamespace

import pytest
from doctor_findings import about, build

from omnibench import hookimpl
from omnibench.cards import EncoderSpec
from omnibench.doctor import software
from omnibench.doctor.findings import Place


def test_a_torch_below_the_floor_fails_and_says_why(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "2.9.1" if name == "torch" else real(name)
    )
    (torch,) = about(software.findings(place), "torch")
    assert torch.verdict == "FAIL" and torch.exit_code == 5
    assert torch.told == (
        "torch is 2.9.1, >=2.10 is needed; older ones can run code from a checkpoint they read"
    )
    assert torch.remedy == "pip install 'torch>=2.10'"


def test_a_missing_extra_is_a_warning_with_its_install_command(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.metadata.version

    def absent(name: str) -> str:
        if name == "pydicom":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    (dicom,) = about(software.findings(place), "extra dicom")
    assert (dicom.verdict, dicom.remedy) == ("WARN", "pip install 'omnibench[dicom]'")
    assert dicom.told == "pydicom is not installed: no DICOM images in folder: data"


def test_every_extra_for_users_has_a_purpose() -> None:
    extras = importlib.metadata.metadata("omnibench").get_all("Provides-Extra") or []
    assert set(software.PURPOSES) == set(extras) - {"dev"}


def test_an_old_python_fails(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software.platform, "python_version", lambda: "3.10.4")
    (python,) = about(software.findings(place), "python")
    assert python.verdict == "FAIL" and "3.10.4, >=3.11 is needed" in python.told


def test_a_broken_plugin_fails_with_the_exit_code_of_plugins(place: Place) -> None:
    place.registry._add("tp-broken", "1", "broken", lambda: 1 / 0)
    (broken,) = about(software.findings(place), "plugin")
    assert (broken.verdict, broken.exit_code) == ("FAIL", 3)
    assert "tp-broken:broken was not loaded: ZeroDivisionError" in broken.told
    assert broken.remedy.startswith("pip install -U tp-broken")


def test_a_name_offered_twice_is_a_warning_that_names_both(place: Place) -> None:
    card = EncoderSpec(name="vit-small", build=build)
    other = SimpleNamespace(omnibench_encoders=hookimpl(lambda: [card]))
    place.registry._add("acme", "1", "vits", lambda: other)
    (twice,) = about(software.findings(place), "plugin")
    assert twice.verdict == "WARN"
    assert "'vit-small' is offered by omnibench and by acme" in twice.told
