"""The pretraining loop (OmniRad, Sec. 3.1), in one process or in several that torchrun started."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from omnirad.architectures import PATCH
from omnirad.checkpoints import Checkpoints
from omnirad.data.batches import PretrainBatches
from omnirad.data.crops import normalised
from omnirad.data.sources import Source
from omnirad.data.specs import open_sources
from omnirad.distributed import Place, placed
from omnirad.errors import RunFailed
from omnirad.exporting import export
from omnirad.job import CHECKPOINTS, ENCODER, LOG, PICTURE, Job, identify, precision
from omnirad.masking import draw_masks
from omnirad.monitors import Monitors
from omnirad.optimiser import build_optimiser, clip_gradients, set_rates
from omnirad.picture import draw_curves
from omnirad.progress import Progress, Silent
from omnirad.run_probe import RunProbe, warn_at_the_end
from omnirad.runlog import RunLog
from omnirad.schedules import Schedules, Stage
from omnirad.settings import digest, document
from omnirad.stopping import StopSignals
from omnirad.student_teacher import CROPS, Losses, StudentTeacher, build_student

logger = logging.getLogger(__name__)


@dataclass
class Run:
    """What a step reads and changes."""

    job: Job
    place: Place
    source: Source
    schedules: Schedules
    pair: StudentTeacher
    optimiser: torch.optim.Optimizer
    monitors: Monitors
    checkpoints: Checkpoints
    log: RunLog
    probe: RunProbe | None = None  # on the first rank alone
    step: int = 0  # the next one

    def state(self) -> dict[str, Any]:
        """Return all that training changes; what is random follows from the step."""
        return {
            "pair": self.pair.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "monitors": self.monitors.state_dict(),
        }

    def save(self) -> None:
        """Write a checkpoint from which `step` can be done, and the picture of the log."""
        if self.place.first:
            self.checkpoints.save(self.step, self.state())
            draw_curves(self.log.rows(), self.job.out / PICTURE)


def pretrain(job: Job, progress: Progress | None = None) -> Path | None:
    """Train until the last step, going on where an earlier call stopped.

    Args:
        job: What to train, on what, and where.
        progress: Where to report.

    Returns:
        The folder of the exported teacher, or None if `job.stop` came before the end.

    Raises:
        OmniradError: If something is missing, wrong or differs, or if the run fails.
        KeyboardInterrupt: At SIGINT or SIGTERM, after a checkpoint was written.
    """
    progress = progress or Silent()
    with placed(job.device) as place:
        if not place.first:
            progress = Silent()
        source = open_sources(job.data, job.recipe.splits)
        run = prepare(job, source, place, progress)
        train(run, progress)
        if run.step < run.schedules.total:
            return None
        target = job.out / ENCODER
        if place.first and not target.exists():
            export_teacher(run, target)
        return target


def prepare(job: Job, source: Source, place: Place, progress: Progress) -> Run:
    """Build everything, and restore what the folder holds."""
    recipe, comm = job.recipe, place.comm
    epoch_steps = recipe.steps_per_epoch(len(source), comm.world_size)
    schedules = Schedules(recipe, epoch_steps, comm.world_size)
    identity = identify(job, source, place, progress)
    student = build_student(recipe, seed=job.seed, weights=job.initial, device=place.device)
    how = precision(place.device.type)
    pair = StudentTeacher(student, recipe, seed=job.seed, comm=comm, precision=how)
    checkpoints = Checkpoints(job.out / CHECKPOINTS, identity, every=job.save_every)
    run = Run(
        job=job,
        place=place,
        source=source,
        schedules=schedules,
        pair=pair,
        optimiser=build_optimiser(student, recipe),
        monitors=Monitors(recipe.prototypes, armed_from=int(recipe.warmup_epochs * epoch_steps)),
        checkpoints=checkpoints,
        log=RunLog(job.out / LOG),
    )
    restore(run)
    if job.probe and place.first and run.step < schedules.total:
        run.probe = RunProbe(job.probe, recipe, place.device, progress)
    if comm.world_size > 1:
        pair.distribute()
    return run


def restore(run: Run) -> None:
    """Load the newest checkpoint, if there is one, on every rank."""
    found = run.checkpoints.load()
    if found is not None:
        run.step, state = found
        run.pair.load_state_dict(state["pair"])
        run.optimiser.load_state_dict(state["optimiser"])
        run.monitors.load_state_dict(state["monitors"])
    if run.place.first:
        run.log.cut(run.step)
        if run.step:
            logger.info("going on with step %d of %d", run.step, run.schedules.total)


def train(run: Run, progress: Progress) -> None:
    """Do every step that is left; what it needs besides is a function of the step.

    Raises:
        RunFailed: If the loss is not finite, or the features collapse.
        KeyboardInterrupt: At a signal, after a checkpoint.
    """
    job, recipe, pair, place = run.job, run.job.recipe, run.pair, run.place
    stop = min(run.schedules.total, job.stop or run.schedules.total)
    progress.start("pretraining", stop)
    progress.advance(run.step)
    speed = Speed()
    with StopSignals() as asked:
        for stage, crops in batches(run, stop):
            step, rates = run.step, run.schedules
            set_rates(run.optimiser, rates, step)
            if rates.gram_refresh(step):
                pair.refresh_anchor()
            measured = step % job.log_every == 0 or step == rates.total - 1

            # the teacher sees whole crops, the student masked ones
            images = normalised(crops.to(place.device, non_blocking=True))
            losses = pair.losses(
                images,
                masks(run, len(crops), stage),
                step=step,
                teacher_temp=rates.teacher_temp(step),
                measured=measured,
            )
            losses.total.backward()  # type: ignore[no-untyped-call]
            norms = clip_gradients(pair.student, recipe.clip_norm)
            ended = agree(run, losses, norms, bool(asked))
            run.optimiser.step()
            run.optimiser.zero_grad(set_to_none=True)

            # the teacher follows
            pair.update_teacher(rates.momentum(step))

            speed.count(len(crops) // CROPS * place.comm.world_size)
            if measured:
                observe(run, losses, norms, speed.take())
            run.step = step + 1
            progress.advance(1, speed.note())
            if run.step % rates.epoch_steps == 0:
                ask(run)
            if ended or run.step == stop or run.step % job.save_every == 0:
                run.save()
            speed.resume()
            if ended:
                logger.info("stopped after step %d; repeat the command to go on", step)
                raise KeyboardInterrupt


def batches(run: Run, stop: int) -> Iterator[tuple[Stage, Tensor]]:
    """Yield the crops of every step from the run's next one, stage by stage."""
    job, recipe, comm = run.job, run.job.recipe, run.place.comm
    for stage in run.schedules.stages():
        first, end = max(run.step, stage.first), min(stop, stage.end)
        if first >= end:
            continue
        source = PretrainBatches(
            run.source,
            batch_size=stage.batch_size,
            crop_size=stage.crop_size,
            seed=job.seed,
            policy=recipe.augmentation,
            sampling=recipe.sampling,
            crop_scale=recipe.crop_scale,
            rank=comm.rank,
            world=comm.world_size,
        )
        for crops in source.stream(first, end, job.workers):
            yield stage, crops


def masks(run: Run, crops: int, stage: Stage) -> Tensor:
    """Return the masks of this step [2b, N]."""
    side = stage.crop_size // PATCH
    place = {"seed": run.job.seed, "step": run.step, "rank": run.place.comm.rank}
    return torch.from_numpy(draw_masks(run.job.recipe, crops, (side, side), **place))


def agree(run: Run, losses: Losses, norms: dict[str, Tensor], asked: bool) -> bool:
    """Tell whether any rank was asked to stop.

    Raises:
        RunFailed: If the loss or a gradient of any rank is not finite, before weights change.
    """
    finite = torch.isfinite(torch.stack([losses.total.detach(), *norms.values()])).all()
    flags = torch.tensor([not finite, asked], dtype=torch.float32, device=run.place.device)
    failed, stopping = run.place.comm.max(flags).tolist()
    if failed:
        terms = {"loss": losses.total.detach(), "dino": losses.dino, "ibot": losses.ibot}
        terms |= {"koleo": losses.koleo} | {f"gradient of {n}": v for n, v in norms.items()}
        said = ", ".join(f"{name} {float(value):.4g}" for name, value in terms.items())
        raise RunFailed(
            f"the loss is not finite at step {run.step} ({said}); the checkpoints before are kept. "
            "Lower base_lr or clip_norm, and look for damaged images"
        )
    return bool(stopping)


def observe(run: Run, losses: Losses, norms: dict[str, Tensor], images_per_second: float) -> None:
    """Log this step and, every so often, judge it; all ranks fail together."""
    step, rates, failure = run.step, run.schedules, None
    if run.place.first and losses.measures is not None:
        row: dict[str, Any] = {
            "step": step,
            "epoch": step / rates.epoch_steps,
            "loss": float(losses.total.detach()),
            "dino": float(losses.dino),
            "ibot": float(losses.ibot),
            "koleo": float(losses.koleo),
            "gram": float(losses.gram),
            "lr": rates.lr(step),
            "weight_decay": rates.weight_decay(step),
            "momentum": rates.momentum(step),
            "teacher_temp": rates.teacher_temp(step),
            **{f"grad_norm_{name}": float(norm) for name, norm in norms.items()},
            **run.monitors.observe(losses, losses.measures),
            "images_per_second": images_per_second,
        }
        if step % run.job.judge_every == 0:
            row |= run.monitors.ranks()
            try:
                row["alarms"] = run.monitors.judge(step, row)
            except RunFailed as error:
                failure = str(error)
        run.log.append(row)
    if step % run.job.judge_every == 0:
        failure = run.place.told(failure)
        if failure:
            raise RunFailed(failure)


def ask(run: Run) -> None:
    """Log the kNN probe of the teacher; at the end, say if it is no better than raw pixels."""
    if run.probe is None:
        return
    row = run.probe.row(run.pair.teacher.encoder)
    epoch = run.step / run.schedules.epoch_steps
    run.log.append({"step": run.step - 1, "epoch": epoch, **row})
    logger.info(
        "epoch %g: kNN accuracy %.3f, AUC %.3f (raw pixels %.3f, %.3f)",
        *(epoch, row["knn_accuracy"], row["knn_auc"], row["raw_accuracy"], row["raw_auc"]),
    )
    if run.step == run.schedules.total:
        warn_at_the_end(row)


def export_teacher(run: Run, target: Path) -> None:
    """Write the teacher's encoder, which is what one uses."""
    recipe = run.job.recipe
    tag = f"omnirad-{recipe.size}-{digest(document(recipe))[:8]}"
    export(run.pair.teacher.encoder, target, tag=tag, licence="other")


class Speed:
    """A stopwatch: images a second, without what is done beside training."""

    def __init__(self) -> None:
        self._images, self._seconds, self._latest = 0, 0.0, 0.0
        self._since = time.perf_counter()

    def count(self, images: int) -> None:
        """Add a step."""
        self._images += images
        self._seconds += time.perf_counter() - self._since

    def resume(self) -> None:
        """Let time count again."""
        self._since = time.perf_counter()

    def take(self) -> float:
        """Return images a second since the last look."""
        self._latest = self._images / self._seconds
        self._images, self._seconds = 0, 0.0
        return self._latest

    def note(self) -> str:
        """Return what stands beside the bar."""
        return f"{self._latest:.1f} images/s"
