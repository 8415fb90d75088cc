"""Losses of `seg`, and the grids that they are taken on."""

import dataclasses

import pytest
import torch
from tiny_segmentation import SOURCE, TINY, blobs

from omnibench.features.rows import HeldRows
from omnibench.interfaces import RunContext
from omnibench_plugins.tasks.seg.inputs import FrozenInputs
from omnibench_plugins.tasks.seg.layers import resize
from omnibench_plugins.tasks.seg.losses import dice_loss, nearest, pixel_loss
from omnibench_plugins.tasks.seg.model import SegmentationModel
from omnibench_plugins.tasks.seg.recipe import PAPER, RECIPES
from omnibench_plugins.tasks.seg.samples import read_data


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
    assert nearest(masks, (2, 2))[0].tolist() == [[4, 12], [4, 12]]
    assert torch.equal(nearest(masks, (16, 16)), masks)


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
