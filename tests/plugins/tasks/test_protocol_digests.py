from __future__ import annotations

import pytest

from omnibench.planning import recipe_of
from omnibench.recipe import as_document, digest
from omnibench_plugins.tasks.caption.task import Captioning
from omnibench_plugins.tasks.cls.task import Classification
from omnibench_plugins.tasks.probes.task import Knn, Linear
from omnibench_plugins.tasks.seg.task import Segmentation

TASKS = {
    task.name: task for task in (Classification(), Segmentation(), Captioning(), Knn(), Linear())
}

# What records of 2026-11-22 hold: another digest makes every finished run of the recipe a missing one.
DIGESTS = {
    ("cls", "paper", "full"): "970f4622a67b7546",
    ("cls", "paper", "head"): "aa23e348d42232b3",
    ("cls", "paper", "lora-r8"): "3bba0d1031551b45",
    ("cls", "paper", "lora-r16"): "1e3766170db592be",
    ("cls", "released", "full"): "1f3e766c83d27c78",
    ("cls", "released", "lora-r8"): "439e4ed6e7e0fd37",
    ("cls", "released", "lora-r16"): "df96987e23fca464",
    ("cls", "fair", "full"): "d7dc190b75ffb059",
    ("cls", "fair", "head"): "8af0c84d9b45d838",
    ("cls", "fair", "lora-r8"): "e60d86bbe80861df",
    ("cls", "fair", "lora-r16"): "522c51c9e7b87100",
    ("cls", "quick", "full"): "b7bf05038bd281e5",
    ("cls", "quick", "head"): "82901bfe569f9e1b",
    ("cls", "quick", "lora-r8"): "cc84d430a3f5c4fb",
    ("cls", "quick", "lora-r16"): "9cabb4713e01c8f5",
    ("seg", "paper", None): "b80fd35e2ca85800",
    ("seg", "released", None): "aa2e32e0e103e2c2",
    ("seg", "fair", None): "c049bb918ad21f0c",
    ("seg", "quick", None): "070afa2676a495d5",
    ("seg", "medsegbench", None): "d8e1732265c7c19e",
    ("caption", "paper", None): "46f9169f5a1a7748",
    ("caption", "released", None): "070991f37250cba3",
    ("caption", "fair", None): "14a5efc038495f46",
    ("caption", "quick", None): "3657d0c11538e167",
    ("knn", "fair", None): "a63fa7d189c9eac5",
    ("knn", "quick", None): "90dfa60d936a72a1",
    ("linear", "fair", None): "9184fced6e9d65a6",
    ("linear", "quick", None): "c1ac59bb561054da",
}


def protocol(task, recipe) -> str:
    fields = as_document(recipe)
    del fields["seeds"]
    return digest({"task": task.name, "v": task.version, **fields})[:16]


def named(name: str, recipe: str, tuning: str | None, **fields: str):
    return recipe_of(TASKS[name], recipe, tuning, fields)[1]


@pytest.mark.parametrize("key", DIGESTS, ids=lambda key: "-".join(filter(None, key)))
def test_named_recipes_keep_the_digests_under_which_their_records_lie(key) -> None:
    assert protocol(TASKS[key[0]], named(*key)) == DIGESTS[key]


def test_no_named_recipe_is_without_its_digest() -> None:
    offered = {
        (task.name, recipe, tuning)
        for task in TASKS.values()
        for recipe in task.recipes
        for tuning in task.tunings or (None,)
    }
    assert offered - DIGESTS.keys() == {("cls", "released", "head")}, "which is refused"


@pytest.mark.parametrize(
    ("key", "base", "idle"),
    [
        (("cls", "paper", "full"), {}, {"lora_dropout": "0.3", "lora_head": "adapter_only"}),
        (("cls", "released", "full"), {}, {"lora_head": "full"}),
        (("cls", "paper", "head"), {"warmup_epochs": "0"}, {"warmup_start": "0.5"}),
        (("cls", "quick", "full"), {}, {"warmup_clip_norm": "0.5"}),
        (("cls", "paper", "full"), {"epochs": "5"}, {"decay": "constant"}),
        (("knn", "fair", None), {"features": "mean"}, {"pool": "avg"}),
        (("linear", "fair", None), {"features": "mean"}, {"pool": "avg"}),
    ],
)
def test_settings_without_effect_make_no_other_run(key, base, idle) -> None:
    task = TASKS[key[0]]
    plain = named(*key, **base)
    assert protocol(task, named(*key, **base, **idle)) == protocol(task, plain)
    assert all(str(getattr(plain, name)) != value for name, value in idle.items())


@pytest.mark.parametrize(
    ("key", "fields"),
    [
        (("cls", "paper", "lora-r8"), {"lora_dropout": "0.3"}),
        (("cls", "paper", "lora-r8"), {"lora_head": "adapter_only"}),
        (("cls", "paper", "full"), {"warmup_start": "0.5"}),
        (("cls", "paper", "full"), {"warmup_clip_norm": "0.5"}),
        (("cls", "paper", "full"), {"decay": "constant"}),
        (("knn", "fair", None), {"pool": "avg"}),
        (("linear", "fair", None), {"pool": "avg"}),
    ],
)
def test_the_same_settings_where_they_have_an_effect_make_another_run(key, fields) -> None:
    task = TASKS[key[0]]
    assert protocol(task, named(*key, **fields)) != DIGESTS[key]
