import numpy as np
import pytest

from palpate.core.actions import ActionSpace
from palpate.core.errors import RecordError, UnknownNameError
from palpate.core.records import Observation
from palpate.planning.grip import CylinderPolicy, GripObjective, GripPolicy

SPACE = ActionSpace(
    motion_low=(-0.02, -0.02, -0.02, -0.3),
    motion_high=(0.02, 0.02, 0.02, 0.3),
    joints=(10.0,),
    active=(0,),
    joint_low=(4.0,),
    joint_high=(25.0,),
)


class Peak:
    """Success is likely near 2 mm across and above a force."""

    outcomes = ("stable",)

    def __init__(self, top=0.98, force=9.0):
        self.top, self.force = top, force

    def encode(self, observation):
        return None

    def score(self, state, actions):
        away = np.abs(actions[:, 0] - 0.002) / 0.02
        firm = 1 / (1 + np.exp(-(actions[:, 4] - self.force)))
        return (self.top * np.exp(-away) * firm)[:, None].astype(np.float32)


def decide(model, **options):
    return GripPolicy(model=model, space=SPACE, **options).act(Observation(), 0, np.random.default_rng(0))


def test_the_most_likely_success_is_found_near_its_peak():
    action = decide(Peak()).action
    assert abs(action.motion[0] - 0.002) < 0.001 and action.joints[0] > 12


def test_least_force_takes_far_less_force_and_stays_above_the_threshold():
    sure, gentle = decide(Peak()), decide(Peak(), objective=GripObjective(kind="min-force"))
    assert gentle.action.joints[0] < 0.75 * sure.action.joints[0]
    assert gentle.predicted["stable"] > 0.9 and gentle.lift


def test_least_force_falls_back_to_the_likeliest_where_nothing_is_sure():
    objective = GripObjective(kind="min-force")
    success, force = np.array([0.2, 0.7, 0.5]), np.array([4.0, 20.0, 10.0])
    assert objective.choose(success, force) == 1


def test_a_mixture_lies_between_success_and_force():
    success, force = np.array([0.80, 0.92, 0.99]), np.array([5.0, 12.0, 25.0])
    assert GripObjective(kind="mixture", weight=0.0).choose(success, force) == 2
    assert GripObjective(kind="mixture", weight=0.3).choose(success, force) == 1
    assert GripObjective(kind="mixture", weight=1.0).choose(success, force) == 0


def test_an_unsure_policy_looks_again_until_its_last_look():
    policy = GripPolicy(model=Peak(top=0.6), space=SPACE, max_looks=3)
    rng = np.random.default_rng(1)
    assert [policy.act(Observation(), look, rng).lift for look in range(3)] == [False, False, True]


def test_candidates_are_those_of_the_paper():
    actions = GripPolicy(model=Peak(), space=SPACE).candidates(np.random.default_rng(0))
    assert actions.shape == (5000, 5)
    still = actions[(actions[:, :4] == 0).all(axis=1)]
    assert len(still) == 100 and still[:, 4].min() == 4.0 and still[:, 4].max() == 25.0


def test_the_cylinder_policy_moves_to_the_middle_whatever_the_yaw():
    centre, pose = np.array([0.55, 0.03, 0.08]), np.array([0.56, 0.02, 0.06, 0.7])
    seen = Observation(object_position=centre, hand_pose=pose)
    action = CylinderPolicy(space=SPACE, yaw_offset=0.4).act(seen, 0, np.random.default_rng(0)).action
    turn = pose[3] + 0.4
    x = pose[0] + np.cos(turn) * action.motion[0] - np.sin(turn) * action.motion[1]
    y = pose[1] + np.sin(turn) * action.motion[0] + np.cos(turn) * action.motion[1]
    np.testing.assert_allclose([x, y, pose[2] + action.motion[2]], [0.55, 0.03, 0.04], atol=1e-12)
    assert action.joints.tolist() == [10.0]
    with pytest.raises(RecordError, match="object_position and hand_pose"):
        CylinderPolicy(space=SPACE, yaw_offset=0.0).act(Observation(), 0, np.random.default_rng(0))


def test_an_unknown_objective_is_named():
    with pytest.raises(UnknownNameError, match=r"'gentle'.*min-force"):
        GripObjective(kind="gentle")  # type: ignore[arg-type]
