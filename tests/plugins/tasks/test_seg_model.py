"""The segmentation modules: sizes, shapes, and the details that the numbers depend on."""

import copy
import math

import pytest
import torch
from torch.nn import functional as F

from omnibench.forward import parameter_counts
from omnibench_plugins.encoders.timm_encoder import build
from omnibench_plugins.tasks.seg.decoder import Decoder, UpBlock
from omnibench_plugins.tasks.seg.fusion import Fusion, fusion_grids
from omnibench_plugins.tasks.seg.hybrid import BASE, SMALL, HybridEncoder, position_code
from omnibench_plugins.tasks.seg.layers import resize
from omnibench_plugins.tasks.seg.model import SegmentationModel, Source, WholeNetwork
from omnibench_plugins.tasks.seg.prior import SpatialPrior
from omnibench_plugins.tasks.seg.recipe import FAIR, PAPER, RELEASED
from omnibench_plugins.tasks.seg.taps import TAPS, tapped

ENCODERS = {
    "patch14-small": "vit_small_patch14_dinov2",
    "patch16-small": "vit_small_patch16_224",
    "patch14-base": "vit_base_patch14_dinov2",
    "tiny": "test_vit",  # width 64, 6 blocks, patch 16
    "cnn": "test_resnet",
}


def encoder(name: str):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(ENCODERS[name], random_init=True)


class Whole(SegmentationModel):
    """The modules with their encoder, from images to logits."""

    def __init__(self, encoder, classes: int, recipe) -> None:
        self.__dict__["reading"] = (encoder.freeze(), TAPS[recipe.extractor])
        channels = tuple(encoder.layer_channels[i] for i in tapped(encoder))
        mean, std = (tuple(t.flatten().tolist()) for t in (encoder.mean, encoder.std))
        super().__init__(Source(encoder.embed_dim, channels, mean, std), classes, recipe)

    def taps(self, images: torch.Tensor) -> list[torch.Tensor]:
        encoder, reading = self.reading
        return list(reading.read(encoder, images).values())

    def forward(self, images: torch.Tensor, taps=None) -> torch.Tensor:
        return super().forward(images, self.taps(images) if taps is None else taps)


def model(name: str = "tiny", classes: int = 2, recipe=PAPER) -> Whole:
    made = encoder(name)
    torch.manual_seed(1)
    return Whole(made, classes, recipe)


def size(module) -> int:
    return sum(p.numel() for p in module.parameters())


# sizes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "recipe", "classes", "trained"),
    [
        # OmniRad, Sec. 3.3: 14.27 M and 69.76 M
        ("patch14-small", PAPER, 2, 14_268_554),
        ("patch14-small", PAPER, 3, 14_268_939),
        ("patch16-small", PAPER, 2, 14_268_554),
        ("tiny", PAPER, 2, 14_268_554),
        ("patch14-base", PAPER, 2, 69_763_706),
        ("patch14-base", PAPER, 3, 69_764_475),
        # the released launcher's feed-forward width, 4 D
        ("patch14-small", RELEASED, 2, 14_268_554),
        ("patch14-base", RELEASED, 2, 72_124_538),
        # everything but the encoder
        ("patch14-small", FAIR, 2, 14_835_354),
        ("patch14-base", FAIR, 2, 71_721_354),
    ],
)
def test_the_printed_numbers_of_parameters_are_reached(name, recipe, classes, trained):
    built = model(name, classes, recipe)
    assert parameter_counts(built).trainable == trained
    assert parameter_counts(built).total == sum(
        size(part) for part in (built.prior, built.fusion, built.hybrid, built.decoder)
    )


@pytest.mark.parametrize(("name", "width"), [("small", SMALL), ("base", BASE)])
def test_every_component_has_its_size(name, width):
    """Component counts of protocol_reconciliation, section 1.1."""
    d, hybrid = width.dim, HybridEncoder(width, 1536)
    expected = {
        "small": (60_688, 503_808, 2_304, 5_859_720, 1_774_464, 296_448, 870_978, 304_896),
        "base": (60_688, 1_892_352, 4_608, 36_136_056, 4_727_040, 1_182_720, 7_256_670, 1_199_616),
    }[name]
    fusion = Fusion([d, d, d], d)
    assert (
        size(SpatialPrior()),
        size(fusion.projections),
        size(fusion.norms),
        size(hybrid),
        size(hybrid.attention),
        size(hybrid.lateral),
        size(hybrid.top_down[0]),
        size(hybrid.down),
    ) == expected
    head = {"small": (8_408_834, 442_368), "base": (33_627_650, 1_769_472)}[name]
    decoder = Decoder(d, 2)
    assert (size(decoder), size(decoder.projections)) == head


# shapes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "expected"), [(448, (56, 28, 14)), (112, (14, 7, 4)), (224, (28, 14, 7))]
)
def test_the_prior_has_strides_8_16_and_32_rounded_up(side, expected):
    maps = SpatialPrior().eval()(torch.rand(1, 3, side, side))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (channels, s, s) for channels, s in zip((32, 64, 64), expected, strict=True)
    ]


def test_the_prior_is_not_activated():
    assert all((m < 0).any() for m in SpatialPrior()(torch.rand(2, 3, 64, 64)))


@pytest.mark.parametrize("side", [64, 80, 112, 176])
@pytest.mark.parametrize("name", ["tiny", "cnn"])
def test_logits_have_the_size_of_the_image(name, side):
    built = model(name, classes=3).eval()
    with torch.no_grad():
        assert built(torch.rand(2, 3, side, side)).shape == (2, 3, side, side)


def test_plain_transformers_fuse_on_4_2_and_1_patch_grids_and_pyramids_on_their_own():
    assert fusion_grids([(32, 32)] * 3) == [(128, 128), (64, 64), (32, 32)]
    assert fusion_grids([(28, 28)] * 3) == [(112, 112), (56, 56), (28, 28)]
    assert fusion_grids([(56, 56), (28, 28), (14, 14)]) == [(56, 56), (28, 28), (14, 14)]


def test_taps_are_the_last_block_of_each_third_and_the_last_stages_of_a_cnn():
    assert tapped(encoder("patch16-small")) == (3, 7, 11)
    assert tapped(encoder("tiny")) == (1, 3, 5)
    cnn = model("cnn")
    assert [t.shape[-1] for t in cnn.taps(torch.rand(1, 3, 64, 64))] == [8, 4, 2]


def test_an_encoder_of_one_block_repeats_it():
    single = encoder("tiny")
    single.dense_layers = (5,)
    built = Whole(single, 2, PAPER).eval()
    assert built(torch.rand(1, 3, 64, 64)).shape == (1, 2, 64, 64)


# details ----------------------------------------------------------------------------------


def test_positions_are_sines_and_cosines_of_row_then_column():
    code = position_code(3, 5, 16)
    assert code.shape == (15, 16)
    row, column, j = 2, 4, 1
    w = 10_000 ** (-j / 4)
    token = code[row * 5 + column]
    assert token[0 + j] == pytest.approx(math.sin(row * w))
    assert token[4 + j] == pytest.approx(math.cos(row * w))
    assert token[8 + j] == pytest.approx(math.sin(column * w))
    assert token[12 + j] == pytest.approx(math.cos(column * w))


def test_positions_enter_queries_and_keys_but_not_values():
    """With one token attention is the identity on values, so the code must not be seen."""
    layer = HybridEncoder(SMALL, 64).attention.eval()
    x = torch.randn(1, 384, 1, 1)
    tokens = x.flatten(2).transpose(1, 2)
    values = F.linear(
        tokens, layer.attention.in_proj_weight[768:], layer.attention.in_proj_bias[768:]
    )
    mixed = layer.norm1(tokens + layer.attention.out_proj(values))
    expected = layer.norm2(mixed + layer.ffn(mixed)).flatten()
    assert torch.allclose(layer(x).flatten(), expected, atol=1e-6)


def test_fusion_is_a_1x1_convolution_of_the_resized_concatenation():
    """The products are taken on the small maps; written out, they are taken on the grid."""
    torch.manual_seed(0)
    fusion = Fusion([24, 24, 24], 16).train()
    naive = copy.deepcopy(fusion)
    taps = [torch.randn(2, 24, 5, 5) for _ in range(3)]
    levels = [torch.randn(2, c, s, s) for c, s in ((32, 9), (64, 5), (64, 3))]
    found = fusion(taps, levels)
    for i, times in enumerate((4, 2, 1)):
        grid = (5 * times, 5 * times)
        both = [
            F.interpolate(m, size=grid, mode="bilinear", align_corners=False)
            for m in (taps[i], levels[i])
        ]
        fused = naive.norms[i](naive.projections[i](torch.cat(both, dim=1)))
        fused = F.interpolate(
            fused, size=levels[i].shape[-2:], mode="bilinear", align_corners=False
        )
        assert torch.allclose(found[i], fused, atol=1e-5)
        assert torch.allclose(fusion.norms[i].running_var, naive.norms[i].running_var, atol=1e-6)


def test_running_statistics_are_those_of_the_full_grid():
    """A mean far above the spread would drown a variance taken as a difference of squares."""
    torch.manual_seed(0)
    fusion = Fusion([8, 8, 8], 4).train()
    written = copy.deepcopy(fusion)
    taps = [torch.randn(3, 8, 6, 6) * 0.1 + 30 for _ in range(3)]
    levels = [torch.randn(3, c, s, s) for c, s in ((32, 11), (64, 6), (64, 3))]
    fusion(taps, levels)
    for i, times in enumerate((4, 2, 1)):
        grid = (6 * times, 6 * times)
        both = torch.cat([resize(taps[i], grid), resize(levels[i], grid)], dim=1)
        written.norms[i](written.projections[i](both))
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            mine, theirs = (getattr(f.norms[i], name) for f in (fusion, written))
            assert torch.allclose(mine, theirs, rtol=1e-5), name


@pytest.mark.parametrize("training", [True, False])
def test_an_up_block_is_two_convolutions_of_the_concatenation(training):
    torch.manual_seed(0)
    block = UpBlock(6).train(training)
    block.norm.running_mean.normal_()
    written = copy.deepcopy(block)
    for low, high in ((4, 7), (7, 14), (5, 5)):
        inputs = [torch.randn(2, 6, s, s, requires_grad=True) for s in (low, high)]
        same = [x.detach().clone().requires_grad_() for x in inputs]
        found = block(*inputs)
        joined = torch.cat([resize(same[0], (high, high)), same[1]], dim=1)
        expected = F.relu(written.refine(F.relu(written.norm(written.join(joined)))))
        assert torch.allclose(found, expected, atol=1e-5)
        gradient = torch.randn_like(found)
        found.backward(gradient)
        expected.backward(gradient)
        for mine, theirs in zip(inputs, same, strict=True):
            assert torch.allclose(mine.grad, theirs.grad, atol=1e-4)
    assert torch.allclose(block.join.weight.grad, written.join.weight.grad, atol=1e-3)


def test_the_lateral_outputs_come_back_on_the_way_up():
    """With the last two fuse blocks as identities, F_32 is down(F_16) + lateral(attention)."""
    torch.manual_seed(0)
    hybrid = HybridEncoder(SMALL, 64).eval()
    for block in hybrid.bottom_up:
        block.forward = lambda x: x
    maps = [torch.randn(1, 384, s, s) for s in (8, 4, 2)]
    with torch.no_grad():
        _, f16, f32 = hybrid(maps)
        t32 = hybrid.lateral[0](hybrid.attention(maps[2]))
        assert torch.allclose(f32, hybrid.down[1](f16) + t32, atol=1e-5)


def test_a_copy_gives_the_same_logits_and_shares_nothing():
    built = model(classes=3).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        before = built(images)
        twin = copy.deepcopy(built)
        assert torch.equal(twin(images), before)
        twin.decoder.classifier.bias.add_(1)
        assert torch.equal(built(images), before)


def test_known_taps_give_the_same_logits():
    built = model().eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(built(images, built.taps(images)), built(images))


def test_encoders_of_other_widths_begin_with_the_same_modules():
    narrow, wide = model("tiny"), model("patch16-small")
    assert torch.equal(narrow.decoder.classifier.weight, wide.decoder.classifier.weight)
    assert torch.equal(narrow.prior.stem[0][0].weight, wide.prior.stem[0][0].weight)


@pytest.mark.parametrize("recipe", [PAPER, FAIR], ids=["paper", "fair"])
def test_a_step_moves_what_is_trained_and_only_batch_statistics_elsewhere(recipe):
    built = model(recipe=recipe).train()
    before = copy.deepcopy(built.state_dict())
    logits = built(torch.rand(4, 3, 64, 64))
    F.cross_entropy(logits, torch.randint(0, 2, (4, 64, 64))).backward()
    torch.optim.AdamW([p for p in built.parameters() if p.requires_grad], lr=1e-2).step()
    after = built.state_dict()
    moved = {name.partition(".")[0] for name in after if not torch.equal(after[name], before[name])}
    assert moved == {"prior", "fusion", "hybrid", "decoder"}
    frozen = [n for n, p in built.named_parameters() if p.grad is None]
    outside = {name.partition(".")[0] for name in frozen}
    assert outside == ({"prior", "fusion"} if recipe is PAPER else set())
    for part in (built.prior, built.fusion):
        statistics = [n for n, _ in part.named_buffers() if not n.endswith("num_batches_tracked")]
        prefix = "prior." if part is built.prior else "fusion."
        assert all(not torch.equal(after[prefix + n], before[prefix + n]) for n in statistics)


# the released extractor -------------------------------------------------------------------


def released(name: str, image_size: int = 64):
    timm_encoder = build(name, random_init=True).eval()
    torch.manual_seed(0)
    built = Whole(timm_encoder, 2, RELEASED)
    images = torch.rand(2, 3, image_size, image_size)
    with torch.no_grad():
        return built, images, timm_encoder.intermediates(images, tapped(timm_encoder))


@pytest.mark.parametrize(
    "name",
    ["vit_small_patch16_224", "vit_small_patch14_dinov2", "test_vit", "deit3_small_patch16_224"],
)
def test_the_released_loop_is_the_model_for_plain_transformers(name):
    built, images, own = released(name, 112)
    for mine, theirs in zip(built.taps(images), own, strict=True):
        assert torch.equal(mine, theirs)


def test_the_released_loop_leaves_dinov3_without_positions():
    built, images, own = released("vit_small_patch16_dinov3")
    taps = built.taps(images)
    assert taps[0].shape == own[0].shape
    assert not torch.allclose(taps[2], own[2], atol=1e-2)
    # rows of patches in another order: the same outputs in that order
    patches = images.unfold(2, 16, 16).unfold(3, 16, 16)
    rolled = patches.roll(1, dims=2).permute(0, 1, 2, 4, 3, 5).reshape(images.shape)
    assert torch.allclose(built.taps(rolled)[2], taps[2].roll(1, dims=2), atol=1e-4)
    assert not torch.allclose(
        built.reading[0].intermediates(rolled)[2], own[2].roll(1, dims=2), atol=1e-4
    )


def test_the_released_loop_leaves_clip_without_its_first_norm():
    built, images, own = released("vit_base_patch16_clip_224")
    assert built.reading[0].backbone.norm_pre is not None
    assert not torch.allclose(built.taps(images)[0], own[0], atol=1e-2)


def test_the_released_loop_refuses_what_it_cannot_run():
    from omnibench.errors import UsageError

    built, images, _ = released("test_resnet")
    with pytest.raises(UsageError, match="ResNet is not; use --recipe paper"):
        built.taps(images)


# end to end -------------------------------------------------------------------------------


def test_one_channel_is_the_foreground_and_half_is_background():
    logit = torch.tensor([-1.0, 0.0, 1e-3]).reshape(1, 1, 1, 3)
    network = WholeNetwork(torch.nn.Identity())
    assert network(logit).argmax(dim=1).flatten().tolist() == [0, 0, 1]
    assert torch.equal(network(torch.ones(1, 3, 2, 2)), torch.ones(1, 3, 2, 2))


def test_modules_that_were_evaluated_first_can_be_trained():
    # A seed that resumes after its last epoch evaluates before the next seed trains.
    from omnibench_plugins.tasks.seg import resampling

    resampling.resize_matrix.cache_clear()
    resampling._shifted.cache_clear()
    model = Whole(encoder("tiny"), 2, PAPER)
    with torch.inference_mode():
        model.eval()(torch.rand(1, 3, 64, 64))
    model.train()(torch.rand(2, 3, 64, 64)).sum().backward()
