"""Tests 4, 9, 10 and 14 on the whole step, against loops over pairs and crops."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from omnirad.errors import IntegrityError, UsageError
from omnirad.losses import koleo_loss
from omnirad.masking import draw_masks
from omnirad.model import create_model
from omnirad.optimiser import build_optimiser, set_rates
from omnirad.presets import NANO, preset
from omnirad.recipe import PretrainRecipe
from omnirad.schedules import Schedules
from omnirad.student_teacher import StudentTeacher, build_student

TINY = replace(
    NANO, prototypes=48, head_hidden=32, head_bottleneck=16, koleo_weight=0.0, drop_path=0.0
)
CROPS, TOKENS = 12, 16


def pair_of(recipe: PretrainRecipe = TINY, **options) -> StudentTeacher:
    """Build a pair whose teacher is not the student's copy."""
    pair = StudentTeacher(build_student(recipe, seed=0), recipe, seed=0, **options)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in pair.teacher.parameters():
            p += 0.02 * torch.randn(p.shape, generator=generator)
        pair.student.mask_token.normal_(generator=generator)
    return pair


def crops_of(size: int = 56) -> Tensor:
    return torch.randn(CROPS, 3, size, size, generator=torch.Generator().manual_seed(7))


def masks_of(recipe: PretrainRecipe = TINY) -> Tensor:
    return torch.from_numpy(draw_masks(recipe, CROPS, (4, 4), seed=0, step=0, rank=0))


def losses(pair: StudentTeacher, masks: Tensor | None = None, **options):
    masks = masks_of() if masks is None else masks
    return pair.losses(crops_of(), masks, **{"step": 0, "teacher_temp": 0.05, **options})


def sinkhorn(z: Tensor) -> Tensor:
    p = torch.exp(z / 0.05).T
    p /= p.sum()
    for _ in range(3):
        p /= p.sum(dim=1, keepdim=True) * p.shape[0]
        p /= p.sum(dim=0, keepdim=True) * p.shape[1]
    return (p * p.shape[1]).T


def cross_entropy(q: Tensor, z: Tensor) -> float:
    log_p = (z / 0.1) - torch.logsumexp(z / 0.1, dim=0)
    return -sum(float(q[k] * log_p[k]) for k in range(len(q)))


def slow_losses(pair: StudentTeacher, masks: Tensor) -> tuple[float, float]:
    """Section 2 in float64: explicit pairs of crops, explicit averages over each mask."""
    taught, student = pair.teacher.double(), pair.student.double()
    crops = crops_of().double()
    images = CROPS // 2

    def logits(net, tokens: Tensor, head: str) -> Tensor:
        projection = getattr(net, head) or net.dino_head
        return projection(tokens) @ projection.prototypes().T

    with torch.no_grad():
        features = taught.encoder.forward_features(crops)
        seen = student.encoder.patch_embed(crops)
        seen[masks.view(CROPS, 4, 4)] = student.mask_token[0]
        hidden = student.encoder.norm(student.encoder.blocks(student.encoder._pos_embed(seen)))
        q_cls = sinkhorn(logits(taught, features[:, 0], "dino_head"))
        z_cls = logits(student, hidden[:, 0], "dino_head")
        where = [(j, t) for j in range(CROPS) for t in range(TOKENS) if masks[j, t]]
        rows = torch.stack([features[j, 1 + t] for j, t in where])
        q_patch = sinkhorn(logits(taught, rows, "ibot_head"))
        dino = 0.0
        for image in range(images):
            first, second = image, images + image
            dino += cross_entropy(q_cls[first], z_cls[second]) / CROPS
            dino += cross_entropy(q_cls[second], z_cls[first]) / CROPS
        ibot = 0.0
        for j in range(CROPS):
            mine = [i for i, (crop, _) in enumerate(where) if crop == j]
            for i in mine:
                z = logits(student, hidden[j, 1 + where[i][1]][None], "ibot_head")[0]
                ibot += cross_entropy(q_patch[i], z) / len(mine) / CROPS
    return dino, ibot


@pytest.mark.parametrize("separate", [False, True])
def test_losses_equal_a_slow_double_loop(separate):
    recipe = replace(TINY, separate_head=separate, dino_global_scale=0.5)
    pair = pair_of(recipe)
    found = losses(pair)
    dino, ibot = slow_losses(pair, masks_of())
    assert float(found.dino) == pytest.approx(dino, rel=1e-6)
    assert float(found.ibot) == pytest.approx(ibot, rel=1e-6)
    assert float(found.total.detach()) == pytest.approx(0.5 * dino + ibot, rel=1e-6)


def test_an_untrained_pair_costs_about_the_logarithm_of_the_prototypes():
    recipe = replace(TINY, prototypes=1024, head_bottleneck=64, head_hidden=256)
    pair = StudentTeacher(build_student(recipe, seed=0), recipe, seed=0)
    found = losses(pair)
    assert float(found.dino) == pytest.approx(math.log(1024), rel=0.15)
    assert float(found.ibot) == pytest.approx(0.5 * math.log(1024), rel=0.15)


def test_swapping_views_before_or_after_centring_is_the_same():
    """Section 10, test 4: the swap commutes with Sinkhorn-Knopp."""
    pair = pair_of()
    whole = losses(pair)
    half = CROPS // 2
    swapped = pair.losses(
        torch.cat([crops_of()[half:], crops_of()[:half]]),
        torch.cat([masks_of()[half:], masks_of()[:half]]),
        step=0,
        teacher_temp=0.05,
    )
    assert float(swapped.dino) == pytest.approx(float(whole.dino), rel=1e-5)


def gradients(pair: StudentTeacher, **options) -> dict[str, Tensor]:
    losses(pair, **options).total.backward()
    return {n: p.grad.clone() for n, p in pair.student.named_parameters() if p.grad is not None}


def test_chunks_change_neither_losses_nor_gradients():
    whole, parts = pair_of(), pair_of(replace(TINY, chunk_rows=5))
    assert float(losses(parts).total.detach()) == pytest.approx(
        float(losses(whole).total.detach()), rel=1e-6
    )
    for (name, wanted), found in zip(
        gradients(whole).items(), gradients(parts).values(), strict=True
    ):
        assert (found - wanted).norm() <= 1e-5 * wanted.norm() + 1e-8, name


def test_gradients_reach_every_parameter_of_the_student_and_none_of_the_teacher():
    pair = pair_of(replace(TINY, drop_path=0.3, koleo_weight=0.1, separate_head=True))
    found = gradients(pair)
    assert found.keys() == {n for n, _ in pair.student.named_parameters()}
    assert all(g.isfinite().all() and g.any() for g in found.values())
    assert all(p.grad is None and not p.requires_grad for p in pair.teacher.parameters())


def test_the_optimiser_moves_the_student_alone():
    pair = pair_of()
    before = {n: p.clone() for n, p in pair.teacher.named_parameters()}
    optimiser = build_optimiser(pair.student, TINY)
    set_rates(optimiser, Schedules(TINY, 10), 30)
    student = pair.student.encoder.cls_token.detach().clone()
    gradients(pair)
    optimiser.step()
    assert not torch.equal(pair.student.encoder.cls_token, student)
    assert all(torch.equal(p, before[n]) for n, p in pair.teacher.named_parameters())


def test_the_mask_token_learns_only_where_a_mask_is_not_empty():
    assert gradients(pair_of())["mask_token"].any()
    empty = torch.zeros(CROPS, TOKENS, dtype=torch.bool)
    pair = pair_of()
    assert not gradients(pair, masks=empty)["mask_token"].any()
    assert losses(pair, empty).ibot == 0


def test_patches_that_are_not_masked_give_no_ibot_gradient():
    recipe = replace(TINY, dino_weight=0.0)
    pair = pair_of(recipe)
    kept: list[Tensor] = []
    encode = pair.student.encode

    def watched(*arguments):
        cls, patches = encode(*arguments)
        patches.retain_grad()
        kept.append(patches)
        return cls, patches

    pair.student.encode = watched  # type: ignore[method-assign]
    losses(pair).total.backward()
    touched = kept[0].grad.abs().sum(dim=2) > 0
    assert torch.equal(touched, masks_of())


def test_the_teacher_never_sees_a_mask():
    pair = pair_of()
    before = losses(pair, measured=True).measures
    with torch.no_grad():
        pair.teacher.mask_token.fill_(1e6)
    other = torch.from_numpy(draw_masks(TINY, CROPS, (4, 4), seed=1, step=0, rank=0))
    after = losses(pair, other, measured=True).measures
    assert torch.equal(before.teacher_patches, after.teacher_patches)
    with torch.no_grad():
        whole = pair.teacher.encoder.forward_features(crops_of())
    assert torch.allclose(before.teacher_cls, whole[:, 0], atol=1e-5)


def test_the_teacher_is_an_exact_copy_at_the_start_in_eval_mode():
    pair = StudentTeacher(build_student(TINY, seed=0), TINY, seed=0)
    student, teacher = pair.student.state_dict(), pair.teacher.state_dict()
    assert student.keys() == teacher.keys()
    assert all(torch.equal(student[n], teacher[n]) for n in student)
    assert not any(m.training for m in pair.teacher.modules())


@pytest.mark.parametrize("momentum", [0.0, 0.5, 1.0])
def test_the_teacher_follows_over_every_parameter(momentum):
    pair = pair_of()
    pair.student.register_buffer("count", torch.ones(1))
    pair.teacher.register_buffer("count", torch.zeros(1))
    before = {n: p.clone() for n, p in pair.teacher.named_parameters()}
    student = dict(pair.student.named_parameters())
    assert before.keys() == student.keys()
    pair.update_teacher(momentum)
    for name, found in pair.teacher.named_parameters():
        old, new = before[name], student[name].detach()
        if momentum == 0.5:
            assert torch.allclose(found, (old + new) / 2, atol=1e-7), name
        else:
            assert torch.equal(found, old if momentum else new), name
    assert torch.equal(pair.teacher.count, torch.ones(1))


def test_the_teacher_drops_nothing_and_the_student_drops_by_position():
    pair = pair_of(replace(TINY, drop_path=0.3))
    first, again = losses(pair, measured=True), losses(pair, measured=True)
    assert torch.equal(first.total, again.total)
    other = losses(pair, step=1, measured=True)
    assert not torch.equal(first.total, other.total)
    assert torch.equal(first.measures.teacher_cls, other.measures.teacher_cls)
    assert not torch.equal(first.measures.student_cls, other.measures.student_cls)


def test_without_masks_and_drop_path_the_student_is_timms_forward_pass():
    pair = pair_of()
    for size in (56, 112):  # positions are resampled at run time
        images = crops_of(size)
        with torch.no_grad():
            cls, patches = pair.student.encode(images)
            wanted = pair.student.encoder.forward_features(images)
        assert torch.equal(torch.cat([cls[:, None], patches], dim=1), wanted)


def test_koleo_is_taken_view_by_view_before_the_head():
    pair = pair_of(replace(TINY, koleo_weight=0.1))
    found = losses(pair, measured=True)
    views = found.measures.student_cls.chunk(2)
    assert float(found.koleo) == pytest.approx(float(sum(koleo_loss(v) for v in views)), rel=1e-6)
    rest = found.dino + found.ibot
    assert float(found.total.detach() - rest) == pytest.approx(0.1 * float(found.koleo), abs=1e-5)


def test_gram_anchoring_starts_with_the_anchor_and_holds_on_to_it():
    recipe = replace(TINY, gram_weight=2.0)
    pair = pair_of(recipe)
    assert losses(pair).gram == 0
    pair.refresh_anchor()
    first = losses(pair)
    assert first.gram > 0
    pair.update_teacher(0.0)
    assert losses(pair).gram == first.gram
    total = float((first.dino + first.ibot + 2 * first.gram).detach())
    assert float(first.total.detach()) == pytest.approx(total, rel=1e-6)


def test_softmax_centring_moves_its_centres_and_saves_them():
    recipe = replace(TINY, centring="softmax")
    pair = pair_of(recipe)
    losses(pair)
    state = pair.state_dict()
    assert set(state) == {"student", "teacher", "centres"}
    assert state["centres"]["dino.centre"].any() and state["centres"]["ibot.centre"].any()
    again = pair_of(recipe)
    again.load_state_dict(state)
    assert torch.equal(losses(again).total, losses(pair).total)


def test_a_restored_pair_goes_on_as_if_nothing_had_happened():
    pair = pair_of(replace(TINY, gram_weight=1.0))
    pair.refresh_anchor()
    again = StudentTeacher(build_student(pair.recipe, seed=9), pair.recipe, seed=0)
    again.load_state_dict(pair.state_dict())
    assert torch.equal(losses(again).total, losses(pair).total)


def test_the_state_of_another_recipe_is_refused():
    pair = pair_of()
    with pytest.raises(IntegrityError, match="this recipe needs student, teacher, centres"):
        pair_of(replace(TINY, centring="softmax")).load_state_dict(pair.state_dict())
    with pytest.raises(IntegrityError, match="size mismatch for dino_head"):
        pair_of(replace(TINY, prototypes=32)).load_state_dict(pair.state_dict())


def test_bf16_changes_losses_by_its_rounding_only():
    exact, rough = losses(pair_of()), losses(pair_of(precision="bf16"))
    assert rough.total.dtype == torch.float32
    assert float(rough.total.detach()) == pytest.approx(float(exact.total.detach()), rel=0.02)
    found, wanted = gradients(pair_of(precision="bf16")), gradients(pair_of())
    for name in ("encoder.blocks.0.attn.qkv.weight", "dino_head.mlp.0.weight"):
        cosine = torch.nn.functional.cosine_similarity(
            found[name].flatten(), wanted[name].flatten(), dim=0
        )
        assert cosine > 0.99 and found[name].dtype == torch.float32


@pytest.mark.parametrize(
    ("crops", "masks", "message"),
    [
        (torch.zeros(3, 3, 56, 56), torch.zeros(3, 16, dtype=torch.bool), "3 crops are no pairs"),
        (torch.zeros(4, 3, 56, 56), torch.zeros(4, 17, dtype=torch.bool), r"need bool \(4, 16\)"),
        (torch.zeros(4, 3, 56, 56), torch.zeros(4, 16), r"masks are torch.float32"),
        (torch.zeros(4, 3, 112, 112), torch.zeros(4, 16, dtype=torch.bool), r"bool \(4, 64\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(crops, masks, message):
    with pytest.raises(UsageError, match=message):
        pair_of().losses(crops, masks, step=0, teacher_temp=0.05)


def test_a_student_is_a_function_of_the_seed_and_leaves_the_global_generator_alone():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, second = build_student(TINY, seed=0), build_student(TINY, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters()))  # noqa: B905
    other = build_student(TINY, seed=1)
    assert not torch.equal(other.encoder.pos_embed, first.encoder.pos_embed)


def test_initial_weights_are_asked_for_and_never_assumed(tmp_path):
    with pytest.raises(UsageError, match="starts from DINOv2's weights"):
        build_student(preset("paper"), seed=0)
    with pytest.raises(UsageError, match="starts from random weights, but 'x' is given"):
        build_student(preset("nano"), seed=0, weights="x")


def test_the_papers_student_starts_from_dinov2(test_data):
    path = test_data / "weights/dinov2_vits14_518_fp16.safetensors"
    recipe = replace(preset("paper"), prototypes=64)
    student = build_student(recipe, seed=0, weights=path)
    assert torch.equal(student.encoder.pos_embed, create_model("small", path).pos_embed)
    plain = replace(recipe, position_interpolation="plain")
    other = build_student(plain, seed=0, weights=path)
    assert not torch.equal(other.encoder.pos_embed, student.encoder.pos_embed)
    assert torch.equal(other.encoder.blocks[0].ls1.gamma, student.encoder.blocks[0].ls1.gamma)
