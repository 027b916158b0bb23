"""The only loops that step an embodiment, in grasps or at a fixed rate: collection, closed-loop tests and real recording all use them."""

from dataclasses import dataclass

import numpy as np

from palpate.core.errors import RecordError
from palpate.core.protocols import Controller, Embodiment, Policy, Releasing, Steered
from palpate.core.randomness import generator
from palpate.core.records import Decision, Episode, GraspOutcome


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """One trial as it went."""

    episode: Episode
    decisions: tuple[Decision, ...]
    outcome: GraspOutcome
    """What the embodiment itself reports (in simulation: the truth, for checking; on a robot: nothing)."""


def rollout(embodiment: Embodiment, policy: Policy, seed: int, index: int, *, max_looks: int = 1) -> Rollout:
    """Run one trial: initial grasp or look, up to `max_looks` regrasps, lift.

    The policy may end the looking early with `lift=True`, also without another regrasp; the last look always ends in a lift.
    Its random numbers depend on `seed` and `index` only and are independent of the embodiment's.
    """
    rng: np.random.Generator = generator(seed, index, 1)
    observation = embodiment.begin(seed, index)
    decisions: list[Decision] = []
    for look in range(max_looks):
        decision = policy.act(observation, look, rng)
        decisions.append(decision)
        if decision.release:
            if not isinstance(embodiment, Releasing):
                raise RecordError(f"the policy wants to let go, which {type(embodiment).__name__} cannot; it has no release()")
            observation = embodiment.release()
        elif decision.action is not None:
            observation = embodiment.regrasp(decision.action)
        if decision.lift:
            break
    outcome = embodiment.lift()
    return Rollout(episode=embodiment.finish(), decisions=tuple(decisions), outcome=outcome)


def steer(hand: Steered, controller: Controller, seed: int, index: int) -> Episode:
    """Run one episode of a hand that is told what to do at a fixed rate, until it is done.

    The controller's random numbers depend on `seed` and `index` only and are independent of the hand's.
    """
    controller.reset(generator(seed, index, 1))
    observation = hand.begin(seed, index)
    while not hand.done:
        observation = hand.step(controller.act(observation))
    return hand.finish()
