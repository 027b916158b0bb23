"""Commands of touch across sensors."""

from dataclasses import replace
from typing import TYPE_CHECKING

from palpate.cli import commands_touch as commands
from palpate.cli.tell import say, tell_import, write_json

if TYPE_CHECKING:
    from palpate.learning.schedule import TrainConfig


def _as_asked(train: "TrainConfig", config: commands.TrainTouch | commands.Generate) -> "TrainConfig":
    """Return the training with what the command says; its warm-up is half of a short one at most."""
    return replace(
        train,
        epochs=config.epochs,
        warmup_epochs=min(train.warmup_epochs, config.epochs / 2),
        batch_size=config.batch,
        learning_rate=config.learning_rate,
        seed=config.seed,
        threads=config.threads or None,
    )


def import_touch(config: commands.ImportFolders) -> None:
    """Run `palpate import` of the set that the command names."""
    from palpate.data.external.image_folders import Wishes
    from palpate.data.external.touch_sets import import_touch as run

    wishes = Wishes(swap=config.swap, rate_hz=config.rate_hz, longest=config.longest)
    tell_import(run(config.source, config.folder, config.out, limit=config.limit, resume=config.resume, wishes=wishes))


def train_touch(config: commands.TrainTouch) -> None:
    """Run `palpate train touch`."""
    from palpate.recipes.anytouch import AnyTouchConfig
    from palpate.recipes.anytouch import train_touch as run

    same = {name: getattr(config, name) for name in ("data", "out", "stage", "encoder", "init", "held_out", "resume")}
    settings = AnyTouchConfig(**same, exclude=names(config.exclude), without=names(config.without))
    settings = replace(settings, shape=replace(settings.shape, view=config.view, size=config.size, patch=config.patch))
    train = _as_asked(settings.train, config)
    folder = run(replace(settings, train=train), say)
    say(f"run written to {folder}")


def embed(config: commands.Embed) -> None:
    """Run `palpate embed`."""
    from palpate.recipes.touch_embedding import EmbedConfig, embed_touches, neighbour_table

    values = {key: value for key, value in vars(config).items() if key != "json"}
    figures = embed_touches(EmbedConfig(**values), say)
    if figures["neighbours"]:
        say(neighbour_table(figures).text())
    say(f"{figures['felt']} recordings of {figures['touches']} touches written to {config.out}")
    write_json(config.json, figures)


def probe(config: commands.Probe) -> None:
    """Run `palpate probe`."""
    from palpate.recipes.touch_probe import ProbeConfig, probe_table, run_probe

    same = {name: getattr(config, name) for name in ("run", "data", "target", "group", "tokens", "seen", "folds")}
    figures = run_probe(ProbeConfig(**same, sensors=names(config.sensors), seeds=tuple(range(config.seeds))), say)
    say(probe_table(figures).text())
    write_json(config.json, figures)


def generate(config: commands.Generate) -> None:
    """Run `palpate generate`."""
    from palpate.recipes.touch_generation import SHEET, GenerationConfig, generate_touch, generation_table

    same = {name: getattr(config, name) for name in ("run", "data", "source", "target", "out", "tune", "held_out")}
    settings = GenerationConfig(**same)
    train = _as_asked(settings.train, config)
    figures = generate_touch(replace(settings, train=train), say)
    say(generation_table(figures).text())
    say(f"run written to {config.out}, pictures to {config.out / SHEET}")
    write_json(config.json, figures)


def demo_anytouch(config: commands.DemoAnytouch) -> None:
    """Run `palpate demo anytouch`."""
    import time

    from palpate.recipes.anytouch_demo import DemoConfig, run_demo

    started = time.perf_counter()
    report = run_demo(DemoConfig(**vars(config)), say)
    say(f"done in {(time.perf_counter() - started) / 60:.1f} minutes; report: {report}")


def names(given: tuple[str, ...]) -> tuple[str, ...]:
    """Return names that stand with spaces or commas between them."""
    return tuple(name for part in given for name in part.split(",") if name)
