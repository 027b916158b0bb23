"""What a study of SoftGrasp has to look at: chosen demonstrations and trials, attention by stage, last pictures, and the glove.

Nothing is chosen by how good it looks: an example is the first of its object that was held, and the first trial if none was.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from palpate.core.randomness import generator
from palpate.core.records import Episode
from palpate.data.reader import EpisodeReader, open_dataset
from palpate.evaluation.figures_softgrasp import MappingFit
from palpate.evaluation.figures_softgrasp import stages as spans
from palpate.evaluation.report_softgrasp import Glove, LastPicture, SoftgraspResults
from palpate.evaluation.tables_softgrasp import Rows, Trials
from palpate.recipes.softgrasp_study import FULL, StudyConfig
from palpate.recipes.softgrasp_task import immersion_config
from palpate.robots.glove_mapping import JOINTS, SOFTGRASP_TABLE_1, fit_mapping, map_angles
from palpate.robots.immersion import Contact, feedback_torque

SHOWN = {1: "Object 1, soft plastic", 4: "Object 4, deformable", 6: "Object 6, rigid"}
"""The objects of the paper's Figs. 7-9, 11 and 13."""
SAMPLES = 400
"""Of each joint's mapping."""
TOUCH_FORCE = 0.1
"""A fingertip that feels more touches something [N]: five standard deviations of the sensor's noise."""
STRENGTH = 0.3
"""Upper end of the torques over which Eq. 1 is drawn [N m]."""


def examples(folder: Path) -> dict[str, Episode]:
    """Return one episode of each shown object that a data set has, by title."""
    reader = open_dataset(folder)
    found = {}
    for number, title in SHOWN.items():
        rows = np.flatnonzero(reader.column("group.object") == f"softgrasp-{number:02d}")
        if len(rows):
            held = rows[reader.column("truth.success")[rows] == 1]
            found[title] = reader.episode(int(held[0] if len(held) else rows[0]))
    return found


def attention_by_stage(folders: Iterable[Path]) -> dict[str, dict[str, np.ndarray]]:
    """Return mean attention (3,) to image, angle and torque over successful trials, by class of hardness and stage."""
    scores: dict[str, dict[str, list[np.ndarray]]] = {}
    for folder in folders:
        reader = open_dataset(folder)
        if "predicted.attention" not in reader.streams:
            continue
        for row in np.flatnonzero(reader.column("truth.success") == 1):
            episode = reader.episode(int(row), streams=("predicted.attention", "hand.joint_position"))
            stream = episode.streams["predicted.attention"]
            own = scores.setdefault(episode.groups["hardness"], {})
            for name, begin, end in spans(episode):
                inside = (stream.times >= begin) & (stream.times < end)
                if inside.any():
                    own.setdefault(name, []).append(stream.values[inside].mean(axis=0))
    return {kind: {name: np.mean(values, axis=0) for name, values in own.items()} for kind, own in scores.items()}


def last_pictures(folder: Path) -> list[LastPicture]:
    """Return the last picture of the first trial on each object."""
    reader = open_dataset(folder)
    _, first = np.unique(reader.column("group.object"), return_index=True)
    shown = []
    for row in first:
        episode = reader.episode(int(row), streams=("camera.rgb",))
        number = int(episode.groups["object"].rsplit("-", 1)[1])
        shown.append(LastPicture(object=number, rgb=episode.streams["camera.rgb"].values[-1], verdict=_verdict(episode)))
    return shown


def _verdict(episode: Episode) -> str:
    if not episode.labels["lifted"]:
        return "not lifted"
    if not episode.truth["success"]:
        return "lost"
    return "crushed" if episode.truth["crushed"] else "held"


def gather(config: StudyConfig, tables: Sequence[Rows], feedback: tuple[Trials, Trials] | None) -> SoftgraspResults:
    """Return what there is to show of a study: its tables, and what its data and finished trials have to look at."""
    finished = config.finished()
    full = [job.loop for job in finished if job.configuration == FULL]
    first = {job.configuration: job.loop for job in finished if job.seed == 0}
    rows = {c: name for number in (5, 6) for name, c in config.tables.get(number, {}).items()}
    demonstrations = examples(config.data)
    return SoftgraspResults(
        tables=tables,
        demonstrations=demonstrations,
        grasps=examples(full[0]) if full else {},
        attention=attention_by_stage(full),
        shown=SHOWN,
        last={name: last_pictures(first[c]) for c, name in rows.items() if c in first},
        feedback=feedback,
        glove=glove_story(config.data, list(demonstrations.values())),
    )


def glove_story(data: Path, shown: Sequence[Episode], seed: int = 0) -> Glove:
    """Return the mapping, fitted anew to samples of itself and seen in demonstrations, and Eq. 1 with what `shown` felt."""
    config = immersion_config()
    torque = np.linspace(0.0, STRENGTH, 601)
    parts = [(e.streams["hand.joint_torque"], e.streams["glove.torque"], e.streams["glove.contact"]) for e in shown]
    felt = [(hand.values[: len(glove.times)].ravel(), glove.values.ravel(), c.values.ravel()) for hand, glove, c in parts]
    hand, glove, state = (np.concatenate(columns) for columns in zip(*felt, strict=True))
    reader = open_dataset(data)
    return Glove(
        fits=mapping_fits(generator(seed)),
        tracking=tracking(reader),
        law=(torque, feedback_torque(torque, config.contact_torque, config.max_feedback)),
        felt=(hand, glove, state),
        limits={"contact": config.contact_torque, "clutch": config.clutch_torque, "most": config.max_feedback},
        order=states_in_order(reader),
    )


def mapping_fits(rng: np.random.Generator) -> list[MappingFit]:
    """Draw samples from Table 1's polynomials with noise of their standard deviation, and fit them anew."""
    glove = np.stack([rng.uniform(joint.low, joint.high, SAMPLES) for joint in SOFTGRASP_TABLE_1], axis=1)
    noise = rng.normal(size=glove.shape) * [joint.deviation for joint in SOFTGRASP_TABLE_1]
    hand = map_angles(SOFTGRASP_TABLE_1, glove) + noise
    fits = []
    for k, (printed, fitted) in enumerate(zip(SOFTGRASP_TABLE_1, fit_mapping(glove, hand), strict=True)):
        grid = np.linspace(fitted.low, fitted.high, 201)
        fits.append(
            MappingFit(
                joint=printed.joint,
                glove=glove[:, k],
                hand=hand[:, k],
                grid=grid,
                printed=printed(grid),
                fitted=fitted(grid),
                printed_deviation=printed.deviation,
                fitted_deviation=fitted.deviation,
            )
        )
    return fits


def tracking(reader: EpisodeReader) -> Mapping[str, float]:
    """Return the standard deviation of the hand's bend about the mapped glove's before anything is touched, by joint."""
    residuals = []
    for row in range(len(reader)):
        episode = reader.episode(row, streams=("hand.joint_position", "hand.fingertip_force", "glove.angle"))
        glove = episode.streams["glove.angle"]
        force = episode.streams["hand.fingertip_force"].values[: len(glove.times)]
        free = np.cumsum((force > TOUCH_FORCE).any(axis=1)) == 0
        free &= glove.times >= episode.event("closing")
        # A command is given at a moment and reached, as far as it is, one period later.
        reached = 1.0 - episode.streams["hand.joint_position"].values[1 : len(glove.times) + 1]
        residuals.append((reached - map_angles(SOFTGRASP_TABLE_1, glove.values))[free])
    deviation = np.concatenate(residuals).std(axis=0)
    return dict(zip(JOINTS, deviation.tolist(), strict=True))


def states_in_order(reader: EpisodeReader) -> tuple[int, int, int]:
    """Return how many joints of demonstrations touched, clutched, and clutched before they touched (Algorithm 1)."""
    touched = clutched = early = 0
    for row in range(len(reader)):
        states = reader.episode(row, streams=("glove.contact",)).streams["glove.contact"].values
        for joint in states.T:
            in_contact, locked = (np.flatnonzero(joint == state) for state in (Contact.CONTACT, Contact.CLUTCHED))
            touched += len(in_contact) > 0
            clutched += len(locked) > 0
            early += len(locked) > 0 and (not len(in_contact) or locked[0] < in_contact[0])
    return touched, clutched, early
