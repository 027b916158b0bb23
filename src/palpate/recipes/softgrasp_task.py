"""One demonstration of SoftGrasp: the world's hand, a glove, and the immersive control between them, recorded as an episode."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from palpate.core.errors import RecordError
from palpate.core.recording import Recorder
from palpate.core.records import Command, Episode, Observation, StreamSpec
from palpate.core.rollout import steer
from palpate.recipes.softgrasp_human import TOUCH_TORQUE, Person, PersonConfig, find_stages
from palpate.robots.glove import Glove, GloveError, HandState
from palpate.robots.glove_mapping import JOINTS, SOFTGRASP_TABLE_1, GloveMapping
from palpate.robots.immersion import ImmersionConfig, ImmersionController
from palpate.worlds.softgrasp import SoftgraspConfig, SoftgraspWorld
from palpate.worlds.softgrasp_physics import seen_touch

HELD_WINDOW = 0.3
"""The end of an episode that tells whether something is held [s]."""


def immersion_config() -> ImmersionConfig:
    """Return thresholds for this hand. The paper prints none; these follow from its noise and from what its motors can give.

    Contact is five standard deviations of the torque's noise; the glove's most is 3 N at a fingertip, that of a light force-feedback glove.
    """
    return ImmersionConfig(
        contact_torque=0.015, clutch_torque=0.050, max_feedback=0.225, contact_speed=0.5, clutch_speed=0.025, amplification=1.0
    )


class GloveController:
    """Implements `palpate.core.protocols.Controller`: what a glove and the person in it make a hand do.

    `before` is called at each period before the glove is read, so that a simulated person can look.
    """

    def __init__(
        self,
        glove: Glove,
        wants_lift: Callable[[], bool],
        *,
        config: ImmersionConfig | None = None,
        mapping: GloveMapping = SOFTGRASP_TABLE_1,
        rate_hz: float = 30.0,
        start: Callable[[np.random.Generator], None] | None = None,
        before: Callable[[], None] | None = None,
    ) -> None:
        """Take a glove, and what tells that the arm should lift."""
        self.glove, self._wants_lift, self._mapping = glove, wants_lift, mapping
        self._config = config or immersion_config()
        self._period = 1.0 / rate_hz
        self._start, self._before = start, before

    def reset(self, rng: np.random.Generator) -> None:
        """Forget the last episode."""
        self._immersion = ImmersionController(self._config, self._mapping)
        self._recorder = Recorder()
        rate = 1.0 / self._period
        for name, unit in (("glove.angle", "share of range"), ("glove.torque", "N m"), ("glove.contact", "")):
            self._recorder.declare(
                StreamSpec(name=name, kind="series", shape=(6,), dtype="float32", rate_hz=rate, unit=unit, names=JOINTS)
            )
        if self._start is not None:
            self._start(rng)

    def act(self, observation: Observation) -> Command:
        """Read the glove, let it feel the hand, and return where the hand should go.

        Raises:
            RecordError: The hand gives no joint angles or torques.
        """
        if observation.joint_position is None or observation.joint_torque is None:
            raise RecordError("a glove needs the hand's joint angles and torques, and this observation lacks them")
        if self._before is not None:
            self._before()
        hand = HandState(angles=1.0 - observation.joint_position, torques=observation.joint_torque)
        try:
            sample = self.glove.read()
        except GloveError:
            sample = None
        step = self._immersion.step(hand, sample, self._period)
        self.glove.feel(step.feedback_torque, step.feedback_angle)
        now = observation.time
        if sample is not None:
            self._recorder.add("glove.angle", now, sample.angles)
        self._recorder.add("glove.torque", now, step.feedback_torque)
        self._recorder.add("glove.contact", now, np.array([float(state) for state in step.contact]))
        if step.message:
            self._recorder.mark(f"glove: {step.message}", now)
        return Command(joints=1.0 - step.command, lift=self._wants_lift())

    def record(self, episode: Episode) -> Episode:
        """Return the episode with what the glove did: its angles (6,), the torque it was told to give, and Algorithm 1's states."""
        events = tuple(sorted([*episode.events, *self._recorder.events()], key=lambda event: event.time))
        return replace(episode, streams={**episode.streams, **self._recorder.streams()}, events=events)


@dataclass(frozen=True, kw_only=True)
class SoftgraspTask:
    """Y. Li et al., "SoftGrasp: Adaptive grasping for dexterous hand based on multimodal imitation learning", Section 4.1."""

    world: SoftgraspConfig = field(default_factory=SoftgraspConfig)
    person: PersonConfig = field(default_factory=PersonConfig)
    immersion: ImmersionConfig = field(default_factory=immersion_config)
    mapping: GloveMapping = SOFTGRASP_TABLE_1
    name: str = "softgrasp"

    def build(self) -> SoftgraspWorld:
        """Build the world."""
        return SoftgraspWorld(self.world)

    def demonstrate(self, world: SoftgraspWorld, seed: int, index: int) -> Episode:
        """Let the scripted person grasp and lift object `index` (cycling), and return the episode with its stages and labels."""
        person = Person(self.person, self.mapping)
        thing = world.objects[index % len(world.objects)]
        controller = GloveController(
            person,
            lambda: person.wants_lift,
            config=self.immersion,
            mapping=self.mapping,
            rate_hz=world.rate_hz,
            start=lambda rng: person.reset(rng, 1.0 - seen_touch(thing)),
            before=lambda: person.see(world.lagging),
        )
        return finished(controller.record(steer(world, controller, seed, index)))


def finished(episode: Episode) -> Episode:
    """Return an episode with the stages that its signals show, and with labels from its sensors."""
    events = tuple(sorted([*episode.events, *find_stages(episode)], key=lambda event: event.time))
    return replace(episode, events=events).with_labels(labels(episode))


def labels(episode: Episode) -> dict[str, float | None]:
    """Return what hand and arm tell: `held` at the end (thumb and a finger still press on something), and whether it was `lifted` at all.

    `held` is None where no lift was made.
    """
    torque = episode.streams["hand.joint_torque"]
    end = torque.values[torque.times > torque.times[-1] - HELD_WINDOW].mean(0)
    lifted = any(event.name == "lift" for event in episode.events)
    presses = bool(end[4] > TOUCH_TORQUE and end[:4].max() > TOUCH_TORQUE)
    return {"held": float(presses) if lifted else None, "lifted": float(lifted)}
