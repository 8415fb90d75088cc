from __future__ import annotations

import dataclasses
import logging
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from omnibench import clean, recording
from omnibench.cards import DataAccess, DatasetSpec
from omnibench.errors import IntegrityError, UsageError
from omnibench.hookspecs import hookimpl
from omnibench.listing import datasets
from omnibench.registry import Registry
from omnibench.subset import Subset, reader_of


@pytest.fixture
def leaking(memory, texture):
    """Val shows an image of train; test one of train, one of val, and two of its own."""
    images = [texture(s) for s in range(7)]
    near = np.clip(images[0].astype(int) + 15, 0, 255).astype(np.uint8)
    return memory(
        images[:3],
        [images[3], near],
        [images[1][::-1].copy(), images[3].copy(), images[5], images[6]],
        targets=[0, 1, 0, 1, 0, 1, 1, 0, 1],
        groups=[1, 2, 3, 4, 5, 6, 7, 8, 9],
    )


@pytest.fixture
def opened(tmp_path):
    def open_(dataset, cache=None):
        card = DatasetSpec(name=dataset.name, kind=dataset.kind, open=lambda access: dataset)
        return clean.cleaned(card).open(DataAccess(root=tmp_path, cache=cache))

    return open_


def test_later_samples_are_left_out_and_the_others_stay_what_they_were(leaking, opened):
    dataset = opened(leaking)
    assert dataset.name == "memory-clean" and dataset.kind == "labels"
    assert {n: dataset.split(n).ids.tolist() for n in ("train", "val", "test")} == {
        "train": [0, 1, 2],
        "val": [3],
        "test": [7, 8],
    }
    test = dataset.split("test")
    assert np.array_equal(test.image(0), leaking.split("test").images[2])
    assert [test.target(0), test.target(1)] == [0, 1] and test.groups.tolist() == [8, 9]


def test_what_was_left_out_is_said_and_part_of_the_digest(leaking, opened):
    dataset = opened(leaking)
    assert dataset.facts["clean"] == (
        "left out 1 of 2 val and 2 of 4 test images that an earlier split shows too (audit-1)"
    )
    other = dataclasses.replace(dataset, removed={"val": (4,), "test": (5,)})
    assert len({leaking.digest, dataset.digest, other.digest}) == 3
    assert opened(leaking).digest == dataset.digest


def test_a_cache_changes_nothing(leaking, opened, tmp_path):
    first = opened(leaking, tmp_path / "cache")
    assert opened(leaking, tmp_path / "cache").digest == first.digest == opened(leaking).digest


def test_a_dataset_without_leaks_is_itself_under_another_name_and_says_so(
    opened, caplog, memory, texture
):
    dataset = memory([texture(0)], [texture(1)], [texture(2)])
    with caplog.at_level(logging.WARNING):
        same = opened(dataset)
    assert "nothing to leave out" in caplog.text
    assert same.split("test") is dataset.split("test") and same.digest != dataset.digest


def test_a_split_of_copies_only_is_an_error(opened, memory, texture):
    image = texture(0)
    with pytest.raises(IntegrityError, match=r"clean:memory has no test images: .* all 2"):
        opened(memory([image], [texture(1)], [image, image[::-1].copy()]))


def test_the_code_that_reads_the_originals_images_counts(leaking, opened):
    limited, own = Subset(opened(leaking), (2, 2, 2)), type(leaking).__module__
    assert reader_of(limited) == reader_of(Subset(leaking, (2, 2, 2))) == reader_of(leaking) == own


def test_a_record_names_the_code_that_reads_the_originals_images(leaking, opened, monkeypatch):
    monkeypatch.setattr(recording.environment, "code", lambda modules: {"modules": modules})
    offer = SimpleNamespace(card=object())
    card = SimpleNamespace(open=partial(clean.open_clean, None, "memory-clean"))
    cell = SimpleNamespace(
        task=offer, handle=SimpleNamespace(module=""), card=card, dataset=opened(leaking)
    )
    assert recording.code_of(cell)["modules"][2:] == ("omnibench.clean", type(leaking).__module__)


def registry(*cards):
    class Plugin:
        __name__ = "acme"

        @hookimpl
        def omnibench_datasets(self):
            return list(cards)

    return Registry.of(Plugin(), clean, distribution="acme")


def spec(name, **fields):
    return DatasetSpec(name=name, kind="labels", open=lambda access: None, **fields)


def test_the_card_is_the_originals_with_another_name_and_no_sizes():
    view = spec("lungs-captions")
    card = spec("lungs", licence="CC0", split_sizes=(3, 2, 4), sizes=(28, 224), views=(view,))
    offer = registry(card).dataset("clean:lungs")
    assert offer.card.name == "lungs-clean" and offer.card.split_sizes is None
    assert offer.card.sizes == (28, 224) and offer.card.licence == "CC0"
    assert [v.name for v in offer.card.views] == ["lungs-captions-clean"]
    assert offer.plugin.distribution == "acme"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("clean:lung", "Did you mean lungs?"),
        ("cleen:lungs", "Did you mean clean?"),
        ("lungs-clean", "Did you mean clean:lungs?"),
    ],
)
def test_near_misses_are_suggested(name, hint):
    with pytest.raises(UsageError) as error:
        registry(spec("lungs")).dataset(name)
    assert hint in str(error.value)


def test_a_dataset_that_is_really_called_so_is_found():
    found = registry(spec("lungs"), spec("lungs-clean", licence="own")).dataset("lungs-clean")
    assert found.card.licence == "own"


def test_the_variant_is_listed():
    (row,) = [row for row in datasets(registry(spec("lungs"))) if row["dataset"] == "clean:…"]
    assert "earlier split" in row["modality"]
