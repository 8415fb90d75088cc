"""Probes on real ultrasound images: pretrained features say more than random ones."""

import pytest

from omnibench.cards import DataAccess
from omnibench.handle import EncoderHandle, WeightsChoice
from omnibench.interfaces import RunContext
from omnibench.subset import Subset
from omnibench_plugins.datasets import omnibench_datasets
from omnibench_plugins.encoders import omnibench_encoders
from omnibench_plugins.tasks.probes.task import Knn, Linear

WEIGHTS = "weights/dinov2_vits14_518_fp16.safetensors"


def metrics(task, recipe_name, test_data, *, random):
    """Test metrics of dinov2-small on BreastMNIST+ read at 224 px."""
    recipe = task.recipe(recipe_name)
    card = next(c for c in omnibench_encoders() if getattr(c, "name", "") == "dinov2-small")
    choice = WeightsChoice(
        kind="random" if random else "file", path=None if random else test_data / WEIGHTS
    )
    handle = EncoderHandle(card=card, weights=choice, label=card.name)
    source = next(d for d in omnibench_datasets() if getattr(d, "name", "") == "breastmnist")
    access = DataAccess(
        root=test_data / "data", offline=True, allow_unverified=True, source_size=224
    )
    dataset = source.open(access)
    if recipe.max_images:
        dataset = Subset(dataset, recipe.max_images)
    (outcome,) = task.run(handle, dataset, recipe, RunContext(seed=0))
    return {m.id: m.value for m in task.score(outcome.predictions)}


@pytest.mark.parametrize("task", [Linear(), Knn()], ids=lambda t: t.name)
def test_a_quick_probe_tells_pretrained_from_random_weights(task, test_data):
    pretrained = metrics(task, "quick", test_data, random=False)
    untrained = metrics(task, "quick", test_data, random=True)
    assert pretrained["auc"] > 0.85  # 40 images: 0.92 (linear) and 0.90 (knn) were measured
    assert pretrained["auc"] > untrained["auc"] + 0.1
    assert pretrained["f1_macro"] > untrained["f1_macro"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_linear_probe_reaches_what_was_measured_on_the_whole_set(test_data):
    # The specification measured 0.914 (cls + mean patch, C = 0.01) and 0.731 at random; with
    # 156 test images the standard error of an AUC near 0.9 is about 0.03.
    assert metrics(Linear(), "fair", test_data, random=False)["auc"] == pytest.approx(
        0.914, abs=0.04
    )
    assert metrics(Linear(), "fair", test_data, random=True)["auc"] < 0.82
