"""The tables of facts, and that listing them stays light."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from omnibench.cards import DatasetPrefix, DatasetSpec, check_name
from omnibench_plugins.datasets import medmnist, medsegbench, omnibench_datasets
from omnibench_plugins.datasets.facts import read_facts

CARDS = {card.name: card for card in omnibench_datasets() if isinstance(card, DatasetSpec)}

# data_and_weights.md section 3: counts and MD5 at 128, 256 and 512 pixels.
PAPER_EIGHT = {
    "pandental": ((81, 11, 24), "08a455cb39ddd0e80ac79c01a631fd4c"),
    "promise12": ((1031, 147, 295), "879618db3641a09fa6bdec6be93e13c5"),
    "usforkidney": ((3210, 458, 918), "bc361af0f49f47a4d60b0717fb206661"),
    "ultrasoundnerve": ((1651, 223, 449), "5180ca0d1f0654765d23bc30fc073e4a"),
    "busi": ((452, 64, 131), "68877751adef0ab639de73946aac0985"),
    "covidquex": ((1864, 466, 583), "338a3118801d5cbcbb5986bb5178a7a2"),
    "fhpsaop": ((2800, 400, 800), "650747dbd726fb5560ca767af979537c"),
    "mosmedplus": ((1910, 272, 547), "537e46abb7623a1c988ef49c32f66d7d"),
}


@pytest.mark.parametrize("name", PAPER_EIGHT)
def test_the_papers_segmentation_sets_have_the_published_facts(name: str) -> None:
    counts, md5 = PAPER_EIGHT[name]
    facts = next(f for f in read_facts("medsegbench.json") if f.flag == name)
    card = CARDS[name]
    assert (card.kind, card.split_sizes, card.sizes) == ("masks", counts, (128, 256, 512))
    assert facts.md5[128] == md5
    file = medsegbench.files(facts)[128]
    assert file.url == f"https://zenodo.org/records/13358372/files/{name}_128.npz?download=1"
    assert card.classes[0] == "background"


def test_the_only_multi_class_set_of_the_paper_names_its_structures() -> None:
    assert CARDS["fhpsaop"].classes == ("background", "pubic symphysis", "fetal head")


def test_every_set_of_both_collections_is_there_once() -> None:
    names = [card.name for card in omnibench_datasets() if isinstance(card, DatasetSpec)]
    assert len(names) == len(set(names))
    collections = [card.collection for card in CARDS.values()]
    assert (collections.count("medmnist"), collections.count("medsegbench")) == (12, 35)
    prefixes = [c.prefix for c in omnibench_datasets() if isinstance(c, DatasetPrefix)]
    assert prefixes == ["folder"]


@pytest.mark.parametrize("name", CARDS)
def test_a_card_has_a_name_that_can_be_typed_and_states_its_licence(name: str) -> None:
    card = CARDS[name]
    check_name(name, "dataset")
    assert card.licence and card.licence != "unknown"
    assert card.source_url.startswith("https://")
    assert card.split_sizes is not None and min(card.split_sizes) > 0
    assert card.modality


@pytest.mark.parametrize("table", ["medmnist.json", "medsegbench.json"])
def test_digests_are_hexadecimal_and_differ(table: str) -> None:
    digests = [md5 for facts in read_facts(table) for md5 in facts.md5.values()]
    assert all(re.fullmatch("[0-9a-f]{32}", md5) for md5 in digests)
    assert len(set(digests)) == len(digests)


def test_non_commercial_licences_are_recognised() -> None:
    for name in ("fhpsaop", "mosmedplus", "dermamnist", "kvasir", "covid19radio"):
        assert CARDS[name].commercial is False
    for name in ("promise12", "ultrasoundnerve"):
        assert CARDS[name].commercial is None
    for name in ("busi", "breastmnist", "covidquex"):
        assert CARDS[name].commercial is True


def test_our_medmnist_table_says_what_the_package_says() -> None:
    info = pytest.importorskip("medmnist").INFO
    flat = {flag: entry for flag, entry in info.items() if not flag.endswith("3d")}
    ours = {facts.flag: facts for facts in read_facts("medmnist.json")}
    assert ours.keys() == flat.keys()
    for flag, entry in flat.items():
        facts = ours[flag]
        assert list(facts.classes) == list(entry["label"].values())
        assert list(facts.counts) == [entry["n_samples"][s] for s in ("train", "val", "test")]
        assert (facts.channels, facts.licence) == (entry["n_channels"], entry["license"])
        assert facts.task == entry["task"]
        for size, file in medmnist.files(facts).items():
            suffix = "" if size == 28 else f"_{size}"
            assert (file.url, file.md5) == (entry[f"url{suffix}"], entry[f"MD5{suffix}"])
            assert file.filename == f"{flag}{suffix}.npz"


def test_chestmnist_is_the_one_set_with_several_labels_at_once() -> None:
    assert [name for name, card in CARDS.items() if card.multi_label] == ["chestmnist"]


def test_listing_the_cards_imports_nothing_heavy_and_opens_no_socket() -> None:
    code = (
        "import socket, sys\n"
        "def refuse(*args, **kwargs): raise AssertionError('network')\n"
        "socket.socket = refuse\n"
        "from omnibench_plugins.datasets import omnibench_datasets\n"
        "assert len(omnibench_datasets()) > 45\n"
        "heavy = {'numpy', 'torch', 'pandas', 'PIL', 'nibabel', 'nilearn', 'medmnist', 'pydicom',"
        " 'urllib.request'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
