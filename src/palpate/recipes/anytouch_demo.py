"""AnyTouch end to end: aligned touches by four sensors, both stages of training, neighbours, retrieval and probes, report."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from palpate.evaluation.report_anytouch_demo import AnyTouchResults, summary_text, write_page
from palpate.models.touch_encoder import TouchEncoderConfig
from palpate.recipes.anytouch import AnyTouchConfig, load_touch_run, train_touch
from palpate.recipes.anytouch_story import guesses, retrieval, shown_touches
from palpate.recipes.touch_collection import TouchConfig, collect_touch
from palpate.recipes.touch_embedding import EmbedConfig, embed_touches, neighbour_table
from palpate.recipes.touch_probe import ProbeConfig, probe_table, run_probe

SENSORS = ("digit", "gelsight", "gelsight-mini", "duragel")
PICTURE, RATE_HZ = 96, 30.0
"""Longer side of stored pictures [px], and most frames a second: what the small encoder can use."""


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """How large a demo."""

    out: Path
    touches: int = 240
    """Places touched by every sensor, to train on."""
    checked: int = 100
    """Places of other objects, to look at the result."""
    epochs: tuple[int, int] = (4, 3)
    """Of stage 1 and stage 2."""
    shape: TouchEncoderConfig = field(default_factory=lambda: TouchEncoderConfig(view="change"))
    """Of the encoder."""
    targets: tuple[Literal["hardness", "roughness", "material"], ...] = ("hardness", "roughness")
    """Of the probes."""
    seed: int = 0
    workers: int = 2
    resume: bool = True


def run_demo(config: DemoConfig, tell: Callable[[str], None], *, progress: bool = True) -> Path:
    """Do what is not done yet in OUT, write OUT/report.html and return its path."""
    trained_on = _collect(config, "touches", config.touches, config.seed)
    checked = _collect(config, "checked", config.checked, config.seed + 1)
    first = _train(config, 1, trained_on, None, tell, progress=progress)
    second = _train(config, 2, trained_on, first, tell, progress=progress)
    maps = config.out / "maps.png"
    embedded = EmbedConfig(
        run=str(second), data=checked, out=config.out / "touches.npz", beside=(str(first),), plot=maps, seed=config.seed
    )
    probes = [
        run_probe(ProbeConfig(run=str(second), data=checked, target=target), tell, progress=progress)
        for target in config.targets
    ]
    metrics = load_touch_run(first).metrics
    results = AnyTouchResults(
        touches=shown_touches(checked),
        masked={**metrics["held_out"], **metrics.get("guesses", {})},
        sheet=guesses(first, checked),
        maps=maps,
        neighbours=neighbour_table(embed_touches(embedded, tell, progress=progress)),
        found=retrieval(second, checked, progress=progress),
        probes=[probe_table(figures) for figures in probes],
        config=asdict(config),
    )
    text = summary_text(results)
    (config.out / "summary.txt").write_text(text + "\n")
    tell(text)
    return write_page(config.out / "report.html", results, {"step by step": _steps(config)})


def _collect(config: DemoConfig, name: str, touches: int, seed: int) -> Path:
    """Return a data set of so many touches, two to an object."""
    return collect_touch(
        TouchConfig(
            out=config.out / name,
            sensors=SENSORS,
            mode="coarse",
            touches=touches,
            objects=max(2, touches // 2),
            picture=PICTURE,
            rate_hz=RATE_HZ,
            seed=seed,
            workers=config.workers,
            resume=config.resume,
        )
    )


def _train(
    config: DemoConfig, stage: Literal[1, 2], data: Path, init: Path | None, tell: Callable[[str], None], *, progress: bool
) -> Path:
    """Return the run of a stage, trained if it is not."""
    out = config.out / f"stage-{stage}"
    if (out / "run.json").exists():
        return out
    epochs = config.epochs[stage - 1]
    settings = AnyTouchConfig(data=(data,), out=out, stage=stage, init=init, shape=config.shape, resume=config.resume)
    train = replace(
        settings.train,
        epochs=epochs,
        warmup_epochs=min(1.0, epochs / 4),
        batch_size=32,
        seed=config.seed,
        threads=config.workers,
    )
    return train_touch(replace(settings, train=train), tell, progress=progress)


def _steps(config: DemoConfig) -> str:
    """Return the commands that do the same one by one."""
    out, (one, two) = config.out, config.epochs
    collect = f"palpate collect touch --sensors {','.join(SENSORS)} --mode coarse --picture {PICTURE} --rate-hz {RATE_HZ:g}"
    counts = ((config.touches, config.seed, "touches"), (config.checked, config.seed + 1, "checked"))
    train = f"palpate train touch --data {out / 'touches'} --batch 32 --seed {config.seed}"
    return "\n".join(
        (
            *(
                f"{collect} --touches {n} --objects {max(2, n // 2)} --seed {seed} --out {out / name}"
                for n, seed, name in counts
            ),
            f"{train} --stage 1 --view {config.shape.view} --size {config.shape.size} --epochs {one} --out {out / 'stage-1'}",
            f"{train} --stage 2 --init {out / 'stage-1'} --epochs {two} --out {out / 'stage-2'}",
            f"palpate embed {out / 'stage-2'} --beside {out / 'stage-1'} --data {out / 'checked'} --out {out / 'touches.npz'} "
            f"--plot {out / 'maps.png'}",
            *(f"palpate probe {out / 'stage-2'} --data {out / 'checked'} --target {target}" for target in config.targets),
        )
    )
