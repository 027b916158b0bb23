"""Grasps of DexGraspNet, closed in our world: do they reach two fingers, and what is their friction quality?

R. Wang et al., "DexGraspNet", ICRA 2023. Its own check (Isaac Gym, friction 3, density 500, six directions of gravity) has passed every
published grasp. Here the same hand closes on the same mesh with the friction of a rubber fingertip, so a lower share is to be expected; the
published validity stands beside, all of it 1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from palpate.core.errors import DataError
from palpate.core.records import Episode, Event, Stream, StreamSpec
from palpate.core.transforms import apply, inverse, look_at, pose, pose_from_vector, vector_from_pose
from palpate.data.external.dexgraspnet import DexGrasp, object_parts, read_dexgraspnet
from palpate.data.reader import EpisodeReader, open_dataset
from palpate.evaluation import page
from palpate.evaluation.intervals import wilson
from palpate.perception.cylinder import fit_cylinder
from palpate.quality.friction import grasp_quality
from palpate.recipes.recording import Made, Recording, record
from palpate.recipes.workers import prepare_worker
from palpate.sensors.camera import CameraConfig
from palpate.worlds.dexterous import DexterousWorld
from palpate.worlds.dexterous_objects import DexterousObject, mesh_object
from palpate.worlds.dexterous_physics import GRAVITY
from palpate.worlds.dexterous_touch import succeeds
from palpate.worlds.household_view import SceneCamera
from palpate.worlds.shadow import FINGERS, RANGES, check_joints

DENSITY = 500.0
"""[kg/m^3], as DexGraspNet's own check has it."""
FRICTION = 0.8
"""A rubber fingertip on plastic; the published check has 3."""
SQUEEZE = 0.3
"""How far the joint that moves most is driven beyond the stored angles [rad]."""
PICTURED = 10
"""Grasps of each object on the page."""
PLACE = np.array([0.55, 0.0, 0.30])
"""Where the object floats [m]; nothing else is near."""


@dataclass(frozen=True, kw_only=True)
class DexgraspnetConfig:
    """What to import."""

    folder: Path
    out: Path
    grasps: int = 0
    """Grasps of each object at most; 0: all."""
    workers: int = 2
    resume: bool = False


@lru_cache(maxsize=16)
def _thing(folder: Path, name: str, scale: float) -> DexterousObject:
    """Return an object at one scale, its mass from its volume."""
    corners = [scale * part for part in object_parts(folder, name, repair=True).corners]
    light = mesh_object(f"{name}@{scale:g}", corners, mass=1.0, friction=FRICTION)
    return mesh_object(light.name, corners, mass=DENSITY * sum(part.volume for part in light.parts), friction=FRICTION)


@lru_cache(maxsize=1)
def _world() -> DexterousWorld:
    return DexterousWorld(fit_cylinder, grasp_quality)


@lru_cache(maxsize=1)
def _cameras() -> tuple[SceneCamera, SceneCamera]:
    """Return two cameras that look at the floating object, from the front and from above the side."""
    eyes = np.array([[0.42, -0.22, 0.12], [-0.30, 0.30, 0.25]])
    first, second = (
        SceneCamera(CameraConfig(world_from_camera=look_at(PLACE + eye, PLACE), focal_px=560.0, width=480, height=360))
        for eye in eyes
    )
    return first, second


def close_grasp(folder: Path, grasp: DexGrasp, index: int) -> Made:
    """Close one grasp in the world and return its episode.

    Raises:
        RecordError: joints out of the hand's range.
    """
    world, thing = _world(), _thing(folder, grasp.object, grasp.scale)
    within = np.clip(grasp.joints, *RANGES.T)
    joints, repairs = check_joints(within)
    world_from_object = pose(np.eye(3), PLACE)
    palm = vector_from_pose(world_from_object @ pose_from_vector(grasp.palm))
    closed, rig = world.close_at(thing, world_from_object, palm, joints, squeeze=SQUEEZE)
    judged, felt = closed.judged, closed.felt
    moved = inverse(world_from_object) @ rig.object_pose()
    streams = _pictures(rig.primitives())
    for finger in FINGERS:
        touch = felt.touches.get(finger)
        taxels = np.zeros((24, 3), np.float32) if touch is None else touch.taxels.astype(np.float32)
        spec = StreamSpec(name=f"touch.{finger}", kind="taxels", shape=(24, 3), dtype="float32", unit="N", frame="gel")
        streams[spec.name] = Stream(spec=spec, times=np.zeros(1), values=taxels[None])
    labels: dict[str, float | None] = {"published": 1.0}
    if judged is not None:
        labels |= {"quality": float(judged.q), "status": float(succeeds(felt, judged))}
    episode = Episode(
        index=index,
        seed=0,
        task="dexgraspnet",
        groups={"object": grasp.object, "scale": f"{grasp.scale:g}"},
        streams=streams,
        events=(Event(name="contact", time=0.0),),
        arrays={
            "joints": grasp.joints,
            "action": np.concatenate([palm, rig.targets()]),
            "contacts": felt.array(),
            "contact_scale": np.array([felt.contacts.object_radius, thing.mass * GRAVITY]),
            "fingers": np.array([float(felt.contacts.finger_count)]),
            "out_of_range": np.array([np.abs(grasp.joints - within).max()]),
            "repairs": np.array([float(len(repairs))]),
            "moved": np.array([np.linalg.norm(apply(moved, np.zeros(3)))]),
        },
        labels=labels,
    )
    return Made.of(episode)


def _pictures(scene: list) -> dict[str, Stream]:
    out = {}
    for name, camera in zip(("front", "side"), _cameras(), strict=True):
        rgb = camera.render(scene)[0]
        spec = StreamSpec(name=f"camera.{name}", kind="rgb", shape=rgb.shape, dtype="uint8", frame="camera")
        out[spec.name] = Stream(spec=spec, times=np.zeros(1), values=rgb[None])
    return out


def import_dexgraspnet(config: DexgraspnetConfig, tell: Callable[[str], None]) -> str:
    """Close and keep all grasps; return the table by object and scale.

    Raises:
        DataError: the folder is no such data set, or OUT holds other data.
    """
    grasps, seen = [], {}
    for grasp in read_dexgraspnet(config.folder):
        seen[grasp.object] = seen.get(grasp.object, 0) + 1
        if not config.grasps or seen[grasp.object] <= config.grasps:
            grasps.append(grasp)
    for name in seen:
        for line in object_parts(config.folder, name, repair=True).repaired:
            tell(line)
    about = {"recipe": "dexgraspnet", "grasps": config.grasps, "friction": FRICTION, "squeeze": SQUEEZE}
    made = Recording(
        out=config.out,
        task="dexgraspnet",
        about=about,
        count=len(grasps),
        unit="grasp",
        workers=config.workers,
        resume=config.resume,
    )
    record(made, close_grasp, lambda index: (config.folder, grasps[index], index), prepare_worker)
    reader = open_dataset(config.out)
    return f"{table_text(reader)}\npictures: {write_page(reader, config.out / 'grasps.html')}"


def write_page(reader: EpisodeReader, path: Path) -> Path:
    """Write a page with pictures of `PICTURED` grasps of each object, spread over its scales, and return its path."""
    objects, sections = reader.column("group.object").astype(str), []
    for name in np.unique(objects):
        rows = np.flatnonzero(objects == name)
        shown = []
        for row in rows[np.unique(np.linspace(0, len(rows) - 1, PICTURED).round().astype(int))]:
            episode = reader.episode(int(row))
            views = [(view, episode.streams[f"camera.{view}"].values[0]) for view in ("front", "side")]
            quality = episode.labels.get("quality")
            lines = {
                "scale": episode.groups["scale"],
                "fingers": f"{episode.arrays['fingers'][0]:.0f}",
                "q": "not judged" if quality is None else f"{quality:.2f}",
            }
            pictures = [page.picture(page.picture_uri(rgb), view, f"The closed hand from the {view}") for view, rgb in views]
            shown.append(page.gallery(f"grasp {episode.index}", pictures, lines))
        sections.append(page.Section(title=str(name), parts=tuple(shown)))
    table = page.Section(title="Closed in our world", parts=(page.code(table_text(reader)),))
    return page.Page(
        title="DexGraspNet", subtitle="Published grasps, closed with friction 0.8 and judged", sections=(table, *sections)
    ).write(path)


def table_text(reader: EpisodeReader) -> str:
    """Return the share of grasps that close to two fingers and that reach q > 0.5, by object and scale, with intervals."""
    objects, scales = reader.column("group.object"), reader.column("group.scale")
    beyond = reader.column("array.out_of_range")[:, 0] > 0.01
    fingers, good = reader.column("array.fingers")[:, 0], reader.column("label.status")
    if not len(fingers):
        raise DataError(f"{reader.root} holds no grasps")
    lines = [f"{'object':44s} {'scale':>6s} {'n':>4s} {'two fingers':>12s} {'q > 0.5 [95 %]':>22s} {'published':>10s}"]
    rows = [(o, s) for o in np.unique(objects) for s in np.unique(scales[objects == o])]
    for name, scale in [*rows, ("all", "")]:
        chosen = np.ones(len(good), bool) if name == "all" else (objects == name) & (scales == scale)
        share = wilson(float(good[chosen].sum()), int(chosen.sum()))
        lines.append(
            f"{name:44s} {scale:>6s} {chosen.sum():4d} {100 * np.mean(fingers[chosen] >= 2):10.1f} % "
            f"{100 * share.value:8.1f} [{100 * share.low:.1f}, {100 * share.high:.1f}] {100:8.0f} %"
        )
    lines.append(
        f"{beyond.sum()} of {len(beyond)} stored grasps bend a joint more than 0.01 rad beyond the hand's range here; "
        "they were closed at the end of the range, and count"
    )
    return "\n".join(lines)
