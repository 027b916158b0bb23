"""Commands that make, import or show data: see `palpate.cli.run` for those that learn and act."""

import json
import time

from palpate.cli import commands
from palpate.cli.tell import data_summary, say, tell_import, write_json
from palpate.data.reader import open_dataset
from palpate.data.review import read_review


def collect(config: commands.CollectGentle) -> None:
    """Run `palpate collect gentle`."""
    from palpate.recipes.collection import CollectConfig
    from palpate.recipes.collection import collect as run
    from palpate.recipes.gentle_task import GentleTask
    from palpate.worlds.gentle import GentleConfig

    task = GentleTask(world=GentleConfig(n_toys=config.toys, pose=config.pose))
    started = time.perf_counter()
    folder = run(
        CollectConfig(
            out=config.out, trials=config.trials, seed=config.seed, workers=config.workers, resume=config.resume, task=task
        )
    )
    say(data_summary(folder))
    say(f"collected in {time.perf_counter() - started:.0f} s into {folder}")


def collect_regrasp(config: commands.CollectRegrasp) -> None:
    """Run `palpate collect regrasp`."""
    from palpate.recipes.collection import CollectConfig
    from palpate.recipes.collection import collect as run
    from palpate.recipes.regrasp_task import RegraspTask
    from palpate.worlds.regrasp import RegraspConfig

    started = time.perf_counter()
    values = {name: value for name, value in vars(config).items() if name not in {"policy", "objects"}}
    settings = CollectConfig(task=RegraspTask(world=RegraspConfig(objects=config.objects)), **values)
    if config.policy == "random":
        folder = run(settings)
    else:
        from palpate.recipes.regrasping import collect_with

        folder = collect_with(config.policy, settings)
    say(data_summary(folder))
    say(f"collected in {time.perf_counter() - started:.0f} s into {folder}")
    doubts = sum(not doubt.person for doubt in read_review(folder))
    if doubts:
        say(
            f"{doubts} trials whose outcome the touch images do not tell clearly: look at them and fill {folder / 'review.csv'}"
        )


def collect_touch(config: commands.CollectTouch) -> None:
    """Run `palpate collect touch`."""
    from palpate.recipes.touch_collection import TouchConfig
    from palpate.recipes.touch_collection import collect_touch as run

    started = time.perf_counter()
    folder = run(TouchConfig(**vars(config)))
    say(data_summary(folder))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    say(f"collected in {(time.perf_counter() - started) / 60:.1f} minutes, {size / 1e9:.3f} GB, in {folder}")


def collect_presses(config: commands.CollectPresses) -> None:
    """Run `palpate collect presses`."""
    from palpate.recipes.hardness_sim import PressesConfig
    from palpate.recipes.hardness_sim import collect_presses as run

    started = time.perf_counter()
    folder = run(PressesConfig(**vars(config)))
    say(data_summary(folder))
    say(f"collected in {time.perf_counter() - started:.0f} s into {folder}")


def touch(config: commands.Touch) -> None:
    """Run `palpate touch`."""
    if config.gallery:
        from palpate.recipes.touch_gallery import GalleryConfig, write_gallery

        for path in write_gallery(GalleryConfig(out=config.out), say):
            say(f"written to {path}")
        return
    if config.describe:
        from palpate.recipes.touch_press import find_sensor
        from palpate.sensors.touch.files import write_sensor

        write_sensor(find_sensor(config.sensor), config.out)
        say(f"constants of {config.sensor} written to {config.out}; change them and try palpate touch --sensor {config.out}")
        return
    from palpate.recipes.touch_show import ShowConfig, figures_text, show_press

    given = {name: value for name, value in vars(config).items() if name not in {"json", "gallery", "describe"}}
    figures = show_press(ShowConfig(**given))
    write_json(config.json, figures)
    say(figures_text(figures))
    say(f"picture written to {config.out}")


def calibrate_touch(config: commands.CalibrateTouch) -> None:
    """Run `palpate calibrate touch`."""
    from palpate.recipes.touch_calibration import calibrate, report_text

    report = calibrate(config.images, config.sensor, config.ball, config.out, config.seed)
    write_json(config.json, report)
    say(report_text(report))
    say(f"optics written to {config.out}; use them with palpate touch --sensor {config.sensor} --optics {config.out}")


def info(config: commands.Info) -> None:
    """Run `palpate info`."""
    if config.json:
        say(json.dumps(open_dataset(config.data).summary(), indent=1))
    else:
        say(data_summary(config.data))


def import_bts3(config: commands.ImportBts3) -> None:
    """Run `palpate import bts3`."""
    from palpate.data.external.bts3 import read_bts3
    from palpate.data.writer import EpisodeWriter

    episodes = list(read_bts3(config.files))
    about = {"recipe": "bts3", "files": [path.name for path in config.files]}
    with EpisodeWriter.create(config.out, task="bts3", config=about) as writer:
        for episode in episodes:
            writer.write(episode)
    say(data_summary(config.out))


def import_wedge(config: commands.ImportWedge) -> None:
    """Run `palpate import wedge`."""
    from palpate.data.external.wedge import import_wedge as run

    tell_import(run(config.folder, config.out))


def import_octopi(config: commands.ImportOctopi) -> None:
    """Run `palpate import octopi`."""
    from palpate.data.external.octopi import import_octopi as run

    tell_import(run(config.folder, config.out))
