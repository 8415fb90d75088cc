"""The task `seg` from names to predictions, on tiny images and a tiny encoder."""

import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from omnibench.cards import DatasetSpec, EncoderSpec
from omnibench.errors import IntegrityError, PluginError, RunFailed, SetupError, UsageError
from omnibench.features.cache import FeatureStore
from omnibench.features.frozen import FrozenFeatures, fingerprint
from omnibench.features.rows import HeldRows
from omnibench.forward import parameter_counts
from omnibench.handle import EncoderHandle, WeightsChoice
from omnibench.interfaces import RunContext, Task
from omnibench.metrics.segmentation import metrics_from_counts
from omnibench.recipe import as_document, override
from omnibench.seeding import seed_initialisation
from omnibench_plugins.encoders.timm_encoder import build
from omnibench_plugins.tasks.seg.evaluate import evaluate, pixel_counts, top_class
from omnibench_plugins.tasks.seg.inputs import FrozenInputs
from omnibench_plugins.tasks.seg.layers import resize
from omnibench_plugins.tasks.seg.losses import dice_loss, pixel_loss
from omnibench_plugins.tasks.seg.losses import nearest as nearest_masks
from omnibench_plugins.tasks.seg.model import SegmentationModel, Source
from omnibench_plugins.tasks.seg.recipe import FAIR, PAPER, QUICK, RECIPES, SegRecipe
from omnibench_plugins.tasks.seg.samples import read_data
from omnibench_plugins.tasks.seg.sheet import nearest, verdicts
from omnibench_plugins.tasks.seg.taps import TAPS
from omnibench_plugins.tasks.seg.task import Segmentation

TASK = Segmentation()
SOURCE = Source(64, (64, 64, 64), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # as `test_vit`
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OWN = Source(64, (64, 64, 64), *IMAGENET)  # under the paper's normalisation
TINY = dataclasses.replace(PAPER, image_size=64, epochs=2, batch_size=4, lr=1e-3)


@dataclasses.dataclass(frozen=True)
class Masks:
    images: list[np.ndarray]
    masks: list[np.ndarray]
    ids: np.ndarray
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, index: int) -> np.ndarray:
        return self.images[index]

    def target(self, index: int) -> np.ndarray:
        return self.masks[index]


@dataclasses.dataclass(frozen=True)
class MaskDataset:
    splits: Mapping[str, Masks]
    classes: tuple[str, ...]
    name: str = "blobs"
    kind: str = "masks"
    digest: str = "ef" * 32
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def split(self, name: str) -> Masks:
        return self.splits[name]


def blobs(classes: int = 2, counts=(8, 4, 7), side: int = 64, native: int | None = None) -> Any:
    """Noisy grey images with one bright disc a foreground class; the class sets its grey."""
    draw = np.random.default_rng(0)
    grid = np.mgrid[:side, :side]

    def split(start: int, count: int) -> Masks:
        images, masks = [], []
        for _ in range(count):
            image, mask = draw.normal(40, 8, (side, side)), np.zeros((side, side), np.uint8)
            for c in range(1, classes):
                centre = draw.integers(side // 4, 3 * side // 4, size=2)
                disc = ((grid - centre[:, None, None]) ** 2).sum(axis=0) < (side / 6) ** 2
                image[disc], mask[disc] = 40 + 180 * c / (classes - 1), c
            grey = image.clip(0, 255).astype(np.uint8)
            images.append(nearest(grey, native) if native else grey)
            masks.append(nearest(mask, native) if native else mask)
        ids = np.arange(start, start + count, dtype=np.int64) * 3
        return Masks(images, masks, ids, ids // 6)

    first = np.cumsum((0, *counts))
    splits = {
        name: split(int(start), count)
        for name, start, count in zip(("train", "val", "test"), first, counts, strict=False)
    }
    return MaskDataset(splits, tuple(f"class {c}" for c in range(classes)))


def handle(name: str = "test_vit", change: Any = None) -> EncoderHandle:
    def make(*, weights: Path | None, random_init: bool) -> Any:
        made = build(name, weights=weights, random_init=random_init)
        return change(made) if change else made

    card = EncoderSpec(name="tiny", build=make, embed_dim=64, patch_size=16, depth=6)
    weights = WeightsChoice(kind="random", sha256="12" * 32)
    return EncoderHandle(card=card, weights=weights, label="tiny")


def outcome(dataset: Any, recipe: SegRecipe = TINY, seed: int = 0, encoder: Any = None) -> Any:
    [found] = TASK.run(encoder or handle(), dataset, recipe, RunContext(seed=seed))
    return found


@pytest.fixture(scope="module")
def trained() -> Any:
    """One finished run on binary discs."""
    return outcome(blobs())


# what is stored -----------------------------------------------------------------------------


def test_a_run_stores_counts_on_both_grids_and_a_gallery(trained):
    arrays = trained.predictions
    assert {n: (a.shape, a.dtype.name) for n, a in arrays.items()} == {
        "val_id": ((4,), "int64"),
        "val_group": ((4,), "int64"),
        "val_counts@64": ((4, 2, 4), "int64"),
        "val_counts@native": ((4, 2, 4), "int64"),
        "test_id": ((7,), "int64"),
        "test_group": ((7,), "int64"),
        "test_counts@64": ((7, 2, 4), "int64"),
        "test_counts@native": ((7, 2, 4), "int64"),
        "gallery_id": ((6,), "int64"),
        "gallery_mask@64": ((6, 64, 64), "uint8"),
    }
    assert set(arrays["gallery_id"]) <= set(arrays["test_id"])


def test_scores_come_from_stored_counts_and_include_the_headline(trained):
    for split in ("val", "test"):
        ids = [m.id for m in TASK.score(trained.predictions, split)]
        assert TASK.headline(TINY) == "miou_dataset@64" in ids
        assert "iou_fg_image@native" in ids
        assert len(ids) == len(set(ids))
    with pytest.raises(IntegrityError, match="no test_counts@"):
        TASK.score({"test_id": np.arange(3)})


def test_the_gallery_is_what_was_counted(trained):
    arrays, split = trained.predictions, blobs().split("test")
    for identity, predicted in zip(arrays["gallery_id"], arrays["gallery_mask@64"], strict=True):
        row = int(np.searchsorted(arrays["test_id"], identity))
        counts = pixel_counts(
            torch.from_numpy(predicted)[None], torch.from_numpy(split.target(row))[None], 2
        )
        assert np.array_equal(counts[0], arrays["test_counts@64"][row])


def test_costs_and_course_are_told(trained):
    encoder, modules = build("test_vit", random_init=True), SegmentationModel(SOURCE, 2, TINY)
    totals = parameter_counts(encoder).total + parameter_counts(modules).total
    assert trained.params_total == totals
    assert trained.params_trainable == 14_268_554
    assert trained.flops_per_image > 2 * 384 * 384 * 8 * 8
    assert trained.images_per_second > 0
    assert len(trained.details["train_losses"]) == len(trained.details["val_miou_paper"]) == 2
    best = int(np.argmax(trained.details["val_miou_paper"]))
    assert trained.details["best_epoch"] == best
    stored = {m.id: m.value for m in TASK.score(trained.predictions, "val")}
    assert stored["miou_paper@64"] == trained.details["val_miou_paper"][best]


def test_flops_count_the_attention_of_the_encoder(trained):
    class Blind(torch.nn.Module):
        def forward(self, x: torch.Tensor, **_: Any) -> torch.Tensor:
            return torch.zeros_like(x)

    def without_attention(made: Any) -> Any:
        for block in made.backbone.blocks:
            block.attn = Blind()
        return made

    blind = outcome(
        blobs(), dataclasses.replace(TINY, epochs=1), encoder=handle(change=without_attention)
    )
    tokens, width, blocks = 16 + 1, 64, 6
    projections = 2 * tokens * 4 * width**2
    products = 2 * 2 * tokens**2 * width
    assert trained.flops_per_image - blind.flops_per_image == blocks * (projections + products)


# randomness ---------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_counts_and_another_does_not(trained):
    again, other = outcome(blobs()), outcome(blobs(), seed=1)
    for name, array in trained.predictions.items():
        assert np.array_equal(array, again.predictions[name]), name
    key = "val_counts@64"
    assert not np.array_equal(trained.predictions[key], other.predictions[key])


@pytest.mark.parametrize("kept", ["computed anew", "on disk, cold", "on disk, warm"])
def test_counts_do_not_depend_on_what_is_kept(trained, monkeypatch, tmp_path, kept):
    encoder = handle()
    if kept == "computed anew":
        monkeypatch.setattr(FrozenFeatures, "hold_bytes", 0)
    else:
        encoder.store = FeatureStore(tmp_path, 10**9)
    if kept == "on disk, warm":
        outcome(blobs(), encoder=encoder)
        encoder = handle(change=lambda made: pytest.fail("a warm store builds no encoder"))
        encoder.store = FeatureStore(tmp_path, 10**9)
    again = outcome(blobs(), encoder=encoder)
    for name, array in trained.predictions.items():
        assert np.array_equal(array, again.predictions[name]), name
    assert again.details == trained.details
    assert again.params_total == trained.params_total
    assert again.flops_per_image == trained.flops_per_image


def test_mixed_precision_reaches_training_and_evaluation(trained):
    recipe = dataclasses.replace(TINY, epochs=1)
    context = RunContext(seed=0, precision="bf16")
    [found] = TASK.run(handle(), blobs(), recipe, context)
    plain = outcome(blobs(), recipe)
    assert found.details["train_losses"] != plain.details["train_losses"]
    assert found.details["train_losses"] == pytest.approx(plain.details["train_losses"], rel=0.1)
    assert (found.predictions["test_counts@64"].sum(axis=2) == 64 * 64).all()


# training -----------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", [TINY, dataclasses.replace(FAIR, image_size=64)])
def test_four_samples_are_learnt(recipe):
    recipe = dataclasses.replace(recipe, epochs=50, batch_size=4, lr=1e-3)
    data = blobs(3, counts=(4, 4, 4))
    same = dataclasses.replace(
        data, splits=dict.fromkeys(("train", "val", "test"), data.split("train"))
    )
    found = outcome(same, recipe)
    score = {m.id: m.value for m in TASK.score(found.predictions)}
    assert score["miou_dataset@64"] > 0.8, score["miou_dataset@64"]
    assert found.details["train_losses"][-1] < 0.15 * found.details["train_losses"][0]


def test_a_frozen_encoder_is_bit_identical_after_training():
    made = []

    def remember(encoder: Any) -> Any:
        made.append(encoder)
        return encoder

    before_after = handle(change=remember)
    fresh = before_after.build(normalization="imagenet", pool="checkpoint")
    before = fingerprint(fresh)
    outcome(blobs(), dataclasses.replace(TINY, epochs=1), encoder=before_after)
    assert fingerprint(made[0].configure(normalization="imagenet", pool="checkpoint")) == before
    with torch.no_grad():
        next(fresh.parameters()).view(-1)[0] += 1e-7
    assert fingerprint(fresh) != before


def test_an_encoder_that_writes_to_itself_is_reported():
    class Counting(type(build("test_vit", random_init=True))):  # type: ignore[misc]
        def _intermediates(self, x: Any, layers: Any, norm: Any) -> Any:
            self.seen += len(x)
            return super()._intermediates(x, layers, norm)

    def change(encoder: Any) -> Any:
        encoder.register_buffer("seen", torch.zeros(()))
        encoder.__class__ = Counting
        return encoder

    with pytest.raises(PluginError, match="'tiny' is frozen, yet"):
        outcome(blobs(), dataclasses.replace(TINY, epochs=1), encoder=handle(change=change))


def test_seeds_decide_the_random_prior_that_stays():
    stored = []
    for seed in (0, 0, 1):
        seed_initialisation(seed)
        stored.append(fingerprint(SegmentationModel(SOURCE, 2, TINY).prior))
    assert stored[0] == stored[1] != stored[2]


def test_kept_weights_are_all_but_the_encoder(trained):
    names = set(trained.weights)
    assert {n.partition(".")[0] for n in names} == {"prior", "fusion", "hybrid", "decoder"}
    assert "prior.stem.0.0.weight" in names
    assert "fusion.norms.0.running_mean" in names


# grids --------------------------------------------------------------------------------------


def test_masks_are_scored_at_their_own_size():
    found = outcome(blobs(3, native=100), dataclasses.replace(TINY, epochs=1))
    counts = found.predictions["test_counts@native"]
    assert (counts.sum(axis=2) == 100 * 100).all()
    assert (found.predictions["test_counts@64"].sum(axis=2) == 64 * 64).all()
    ids = {m.id for m in TASK.score(found.predictions)}
    assert {"iou_macro_image@native", "iou_macro_image@64"} <= ids


def test_native_and_model_grid_agree_where_they_are_the_same(trained):
    arrays = trained.predictions
    assert np.array_equal(arrays["test_counts@native"], arrays["test_counts@64"])


def test_logits_are_interpolated_and_ties_go_to_the_lowest_class():
    class Fixed:
        def logits(self, split: str, index: torch.Tensor) -> torch.Tensor:
            maps = torch.zeros(len(index), 3, 64, 64)
            maps[:, 2, :, 32:] = 1.0
            return maps

        def encoding_seconds(self, split: str) -> float:
            return 0.0

    dataset = blobs(3, native=128)
    samples = read_data(dataset, TINY, RunContext(seed=0).progress).splits["test"]
    found = evaluate(Fixed(), "test", samples, RunContext(seed=0), np.array([1, 4]))
    assert found.shown.shape == (2, 64, 64) and np.unique(found.shown).tolist() == [0, 2]
    assert (found.shown[:, :, 31] == 0).all() and (found.shown[:, :, 32] == 2).all()
    # class 2 wins wherever its interpolated logit is above 0: from the second half of pixel 31 on
    predicted = found.native_counts[:, 2, 0] + found.native_counts[:, 2, 1]
    assert (predicted == 128 * 65).all()


def test_predictions_that_are_not_finite_are_never_counted():
    class Diverged:
        def logits(self, split: str, index: torch.Tensor) -> torch.Tensor:
            return torch.full((len(index), 3, 64, 64), float("nan"))

        def encoding_seconds(self, split: str) -> float:
            return 0.0

    samples = read_data(blobs(3), TINY, RunContext(seed=0).progress).splits["test"]
    with pytest.raises(RunFailed, match="not finite for test images"):
        evaluate(Diverged(), "test", samples, RunContext(seed=0), np.array([0]))


@pytest.mark.parametrize("classes", [2, 5])
def test_pixel_counts_are_those_of_a_loop_over_classes(classes):
    draw = torch.Generator().manual_seed(0)
    p, t = torch.randint(0, classes, (2, 3, 9, 7), generator=draw)
    for image in range(3):
        for c in range(classes):
            a, b = t[image] == c, p[image] == c
            expected = [(a & b).sum(), (~a & b).sum(), (a & ~b).sum(), (~a & ~b).sum()]
            assert pixel_counts(p, t.byte(), classes)[image, c].tolist() == expected


@pytest.mark.parametrize("classes", [2, 3, 11, 16, 17])
def test_the_running_maximum_is_argmax_and_counts_are_those_of_integers(classes):
    draw = torch.Generator().manual_seed(classes)
    # few different values, so that ties abound
    logits = torch.randint(-2, 3, (3, classes, 9, 7), generator=draw).float()
    predicted = top_class(logits)
    assert predicted.dtype == torch.uint8
    assert torch.equal(predicted.long(), logits.argmax(dim=1))
    reference = torch.randint(0, classes, (3, 9, 7), generator=draw).to(torch.uint8)
    assert pixel_counts(predicted, reference, classes).sum() == 3 * classes * 9 * 7
    with pytest.raises(ValueError, match=f"holds class {classes} of {classes}"):
        pixel_counts(predicted, torch.full_like(reference, classes), classes)


def test_features_in_half_precision_move_a_score_by_less_than_a_twentieth_of_a_point(tmp_path):
    """One trained head, evaluated on maps kept in fp32 and in fp16."""
    dataset = blobs(counts=(16, 4, 32))
    found = outcome(dataset, dataclasses.replace(TINY, epochs=6))
    model = SegmentationModel(OWN, 2, TINY).eval()
    model.load_state_dict({n: torch.from_numpy(a.copy()) for n, a in found.weights.items()})
    data = read_data(dataset, TINY, RunContext(seed=0).progress)
    scores = {}
    for storage in ("fp32", "fp16"):
        encoder = handle()
        encoder.storage, encoder.store = storage, FeatureStore(tmp_path, 10**9)
        rows = encoder.features(
            TAPS["timm"],
            normalization="imagenet",
            size=64,
            antialias=False,
            device="cpu",
            precision="fp32",
        ).of(dataset, "test", RunContext(seed=0).progress)
        inputs = FrozenInputs(model, data, {"test": rows}, RunContext(seed=0))
        counts = evaluate(
            inputs, "test", data.splits["test"], RunContext(seed=0), np.array([0])
        ).counts
        scores[storage] = {m.id: m.value for m in metrics_from_counts(counts, "64")}
    assert np.array_equal(counts.shape, found.predictions["test_counts@64"].shape)
    trained = {m.id: m.value for m in TASK.score(found.predictions)}
    assert scores["fp32"]["miou_dataset@64"] == trained["miou_dataset@64"]
    assert scores["fp32"]["miou_dataset@64"] > 0.5
    assert scores["fp16"]["miou_dataset@64"] == pytest.approx(
        scores["fp32"]["miou_dataset@64"], abs=5e-4
    )


# labels -------------------------------------------------------------------------------------


def relabelled(dataset: Any, split: str, old: int, new: int) -> Any:
    source = dataset.split(split)
    masks = [np.where(m == old, new, m).astype(np.uint8) for m in source.masks]
    splits = {**dataset.splits, split: dataclasses.replace(source, masks=masks)}
    return dataclasses.replace(dataset, splits=splits)


def test_a_value_that_is_no_class_is_an_error():
    with pytest.raises(IntegrityError, match=r"sample 0 in split 'train' .* the value 7, but 3"):
        read_data(relabelled(blobs(3), "train", 2, 7), TINY, RunContext(seed=0).progress)


def test_per_split_labels_shift_classes_and_fixed_ones_do_not():
    silent = RunContext(seed=0).progress
    dataset = relabelled(blobs(3), "test", 1, 0)  # the test split lacks class 1
    fixed = read_data(dataset, TINY, silent)
    every = torch.arange(7)
    assert fixed.splits["test"].masks[every].unique().tolist() == [0, 2]
    shifted = read_data(dataset, dataclasses.replace(TINY, label_map="per_split"), silent)
    assert shifted.splits["test"].masks[every].unique().tolist() == [0, 1]
    assert shifted.splits["test"].native_mask(0).unique().tolist() == [0, 1]
    assert shifted.values == {"train": [0, 1, 2], "val": [0, 1, 2], "test": [0, 2]}
    lacking = relabelled(blobs(3), "train", 1, 0)
    with pytest.raises(IntegrityError, match=r"'val' .* more classes than the training split"):
        read_data(lacking, dataclasses.replace(TINY, label_map="per_split"), silent)


# refusals that need the encoder --------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (RECIPES["released"], "the released extractor takes transformers"),
        (dataclasses.replace(PAPER, image_size=65), "not a multiple of the patch size"),
    ],
)
def test_what_an_encoder_cannot_do_is_refused_before_images_are_read(unread, recipe, message):
    name = "test_resnet" if recipe.extractor == "released" else "test_vit"
    with pytest.raises(UsageError, match=message):
        outcome(unread, recipe, encoder=handle(name))


def test_a_network_that_cannot_be_made_is_refused_before_images_are_read(unread):
    def make(classes: int) -> Any:
        raise SetupError("U-Nets need another package")

    card = EncoderSpec(name="net", end_to_end=True, build_end_to_end=make)
    whole = EncoderHandle(card=card, weights=WeightsChoice(kind="random"), label="net")
    with pytest.raises(SetupError, match="need another package"):
        outcome(unread, RECIPES["medsegbench"], encoder=whole)


# losses -------------------------------------------------------------------------------------


def test_dice_is_the_loss_that_medsegbench_calls():
    smp = pytest.importorskip("segmentation_models_pytorch")
    theirs = smp.losses.DiceLoss(smp.losses.BINARY_MODE, from_logits=True)
    draw = torch.Generator().manual_seed(0)
    logit = torch.randn(3, 1, 8, 8, generator=draw)
    mask = torch.randint(0, 2, (3, 8, 8), generator=draw)
    both = torch.cat([torch.zeros_like(logit), logit], dim=1)
    assert dice_loss(both, mask) == pytest.approx(float(theirs(logit, mask[:, None])), abs=1e-6)
    empty = torch.zeros_like(mask)
    assert float(dice_loss(both, empty)) == float(theirs(logit, empty[:, None])) == 0.0


def test_medsegbench_takes_softmax_outputs_for_logits_with_several_classes():
    logits, mask = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    loss = pixel_loss(logits, mask, RECIPES["medsegbench"])
    assert loss == torch.nn.functional.cross_entropy(logits.softmax(dim=1), mask)
    assert pixel_loss(logits, mask, PAPER) == torch.nn.functional.cross_entropy(logits, mask)


def test_masks_are_resized_by_the_middle_of_each_cell():
    masks = torch.arange(16).repeat(16, 1).to(torch.uint8)[None]
    assert nearest_masks(masks, (2, 2))[0].tolist() == [[4, 12], [4, 12]]
    assert torch.equal(nearest_masks(masks, (16, 16)), masks)


def test_the_loss_may_be_taken_where_the_decoder_ends():
    recipe = dataclasses.replace(TINY, loss_resolution="eighth", image_size=80)
    data = read_data(blobs(3), recipe, RunContext(seed=0).progress)
    built = SegmentationModel(SOURCE, 3, recipe).eval()
    taps = HeldRows({name: torch.rand(8, 64, 5, 5) for name in "012"}, seconds=0.0)
    inputs = FrozenInputs(built, data, {"train": taps}, RunContext(seed=0))
    index = torch.tensor([3, 1])
    with torch.no_grad():
        coarse, full = inputs.training_logits(index), inputs.logits("train", index)
    assert coarse.shape == (2, 3, 10, 10) and full.shape == (2, 3, 80, 80)
    assert torch.equal(resize(coarse, (80, 80)), full)
    built.loss_resolution = "full"
    with torch.no_grad():
        assert torch.equal(inputs.training_logits(index), full)


def test_a_coarse_loss_trains_and_metrics_stay_on_the_full_grid(trained):
    found = outcome(blobs(), dataclasses.replace(TINY, loss_resolution="eighth"))
    assert (found.predictions["test_counts@64"].sum(axis=2) == 64 * 64).all()
    assert found.details["train_losses"] != trained.details["train_losses"]
    assert found.details["train_losses"][-1] < found.details["train_losses"][0]
    assert found.params_trainable == trained.params_trainable


# cards --------------------------------------------------------------------------------------


def spec(**changes: Any) -> DatasetSpec:
    return DatasetSpec(**{"name": "d", "kind": "masks", "open": lambda access: None, **changes})


def encoder_spec(patch_size: int = 14, **changes: Any) -> EncoderSpec:
    made = {"name": "e", "build": lambda **_: None, "patch_size": patch_size}
    return EncoderSpec(**{**made, **changes})


def test_the_task_is_a_task_and_its_recipes_are_hashable_documents():
    assert isinstance(TASK, Task)
    assert TASK.recipes == ("paper", "released", "fair", "quick", "medsegbench")
    documents = [as_document(TASK.recipe(name)) for name in TASK.recipes]
    assert len({str(d) for d in documents}) == 5
    assert TASK.stochastic(PAPER) and TASK.variants(PAPER) == ("",) and TASK.tunings == ()
    assert [TASK.precision(asked, PAPER) for asked in ("fp32", "bf16")] == ["fp32", "bf16"]


def test_fields_are_checked():
    assert override(PAPER, {"ffn_dim": "none", "label_map": "per_split"}).ffn_dim is None
    with pytest.raises(UsageError, match="image_size is 32; use --set image_size=N with N >= 64"):
        override(PAPER, {"image_size": "32"})
    for settings, message in (
        ({"ffn_dim": "0"}, "ffn_dim is 0"),
        ({"max_images": "60,1,40"}, "at least 2 images each"),
        ({"loss_resolution": "half"}, "one of full, eighth"),
        ({"pool": "cls"}, "pool is one of checkpoint"),
    ):
        with pytest.raises(UsageError, match=message):
            override(PAPER, settings)


@pytest.mark.parametrize(
    ("dataset", "encoder", "recipe", "reason"),
    [
        (spec(), encoder_spec(), PAPER, None),
        (spec(), encoder_spec(16), QUICK, None),
        (spec(), encoder_spec(1), FAIR, None),
        (spec(kind="labels"), encoder_spec(), PAPER, "'d' has labels, this task needs masks"),
        (
            spec(),
            encoder_spec(),
            dataclasses.replace(PAPER, image_size=450),
            "not a multiple of 14.* use --set image_size=448",
        ),
        (spec(), encoder_spec(), RECIPES["medsegbench"], "this recipe trains whole networks"),
        (
            spec(),
            encoder_spec(end_to_end=True, build_end_to_end=lambda classes: None),
            PAPER,
            "'e' is trained from end to end; use --recipe medsegbench",
        ),
        (
            spec(),
            encoder_spec(end_to_end=True, build_end_to_end=lambda classes: None),
            RECIPES["medsegbench"],
            None,
        ),
        *(
            (
                spec(),
                encoder_spec(end_to_end=True, build_end_to_end=lambda classes: None),
                dataclasses.replace(RECIPES["medsegbench"], **{name: value}),
                f"{name}={value} has no effect on the whole network 'e'; use --recipe medsegbench",
            )
            for name, value in (
                ("normalization", "imagenet"),
                ("loss_resolution", "eighth"),
                ("extractor", "released"),
                ("train_prior_and_fusion", True),
                ("ffn_dim", None),
            )
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_a_way_out(dataset, encoder, recipe, reason):
    found = TASK.accepts(dataset, encoder, recipe)
    if reason is None:
        assert found is None
    else:
        assert found is not None
        with pytest.raises(AssertionError, match=reason):
            raise AssertionError(found)


def test_whole_networks_are_trained_from_scratch():
    class Net(torch.nn.Module):
        def __init__(self, classes: int) -> None:
            super().__init__()
            self.layers = torch.nn.Sequential(
                torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, classes, 1)
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layers(x)

    card = EncoderSpec(name="net", end_to_end=True, build_end_to_end=Net)
    whole = EncoderHandle(card=card, weights=WeightsChoice(kind="random"), label="net")
    recipe = dataclasses.replace(
        RECIPES["medsegbench"], image_size=64, epochs=60, batch_size=2, lr=0.03
    )
    binary = outcome(blobs(), recipe, encoder=whole)
    score = {m.id: m.value for m in TASK.score(binary.predictions)}
    assert score["iou_fg_image@native"] > 0.9
    assert binary.params_total == binary.params_trainable == (27 * 8 + 8) + (8 + 1)
    several = outcome(blobs(3), dataclasses.replace(recipe, epochs=2), encoder=whole)
    assert several.params_total == (27 * 8 + 8) + 3 * (8 + 1)


# picture ------------------------------------------------------------------------------------


def test_verdicts_tell_correct_surplus_missed_and_confused_pixels_apart():
    reference, predicted = np.array([[0, 1, 0, 1, 2]]), np.array([[0, 1, 1, 0, 1]])
    picture = verdicts(reference, predicted)[0]
    assert picture[0].tolist() == [0, 0, 0, 0]
    assert len({tuple(pixel) for pixel in picture}) == 5


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_a_sheet_is_drawn_for_a_few_cases(classes):
    dataset = blobs(classes, counts=(4, 2, 3), native=50)
    found = outcome(dataset, dataclasses.replace(TINY, epochs=1))
    png = TASK.draw(dataset, found.predictions, "tiny · seg · $blobs$")
    picture = Image.open(io.BytesIO(png))
    assert picture.size[0] > 3 * 200
    assert len(picture.convert("RGB").getcolors(10**7)) > 100
