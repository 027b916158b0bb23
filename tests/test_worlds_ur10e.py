import numpy as np
import pytest

from palpate.core.transforms import look_at, pose, rotation_from_vector
from palpate.worlds.ur10e import LIFT, Arm, link_poses, solve


def test_every_solution_puts_the_flange_where_it_was_and_the_true_joints_are_among_them():
    rng = np.random.default_rng(0)
    for _ in range(100):
        joints = rng.uniform(-np.pi, np.pi, 6)
        target = link_poses(joints)[-1]
        found = solve(target)
        assert 2 <= len(found) <= 8
        for other in found:
            np.testing.assert_allclose(link_poses(other)[-1], target, atol=1e-9)
        apart = np.abs((found - joints + np.pi) % (2 * np.pi) - np.pi).max(axis=1)
        assert apart.min() < 1e-9


def test_the_stretched_arm_reaches_as_far_as_the_maker_says():
    stretched = link_poses(np.zeros(6))[-1]
    # Published: links of 612.7 and 571.55 mm in a row, the flange 119.85 mm below the elbow's plane and 290.7 mm beside it.
    np.testing.assert_allclose(stretched[:3, 3], [-1.18425, -0.2907, 0.06085], atol=1e-9)


def test_poses_beyond_the_arm_have_no_solution():
    assert len(solve(pose(np.eye(3), np.array([1.6, 0.0, 0.3])))) == 0
    assert len(solve(pose(np.eye(3), np.array([0.0, 0.0, 0.5])))) == 0, "inside the shoulder's column"


def palm_down(x: float, z: float, tilt: float = 0.5) -> np.ndarray:
    forward = np.array([np.cos(tilt), 0.0, -np.sin(tilt)])
    back = np.array([np.sin(tilt), 0.0, np.cos(tilt)])
    return pose(np.stack([np.cross(back, forward), back, forward], axis=1), np.array([x, 0.0, z]))


def test_a_hand_over_the_table_is_reached_with_joints_that_lead_there():
    arm = Arm()
    wanted = palm_down(0.5, 0.15)
    joints = arm.reach(wanted)
    assert joints is not None and np.abs(joints).max() <= 2 * np.pi and abs(joints[2]) <= np.pi
    np.testing.assert_allclose(arm.palm(joints), wanted, atol=1e-9)


@pytest.mark.parametrize(
    ("pose_of_palm", "why"),
    [
        (palm_down(1.6, 0.15), "too far"),
        (palm_down(0.5, 0.05, tilt=0.0), "the forearm is in the table"),
        (palm_down(0.5, 0.15, tilt=-0.7), "the forearm comes from below the table"),
    ],
)
def test_what_the_arm_cannot_do_is_out_of_reach(pose_of_palm, why):
    assert Arm().reach(pose_of_palm) is None, why


def test_what_cannot_be_lifted_is_out_of_reach():
    arm = Arm()
    turn = rotation_from_vector(np.array([0.0, 0.0, 0.3])) @ palm_down(0.5, 0.2)[:3, :3]
    heights = np.arange(0.2, 1.6, 0.02)
    reached = [arm.reach(pose(turn, np.array([0.5, 0.0, z]))) is not None for z in heights]
    alone = [len(arm._solutions(pose(turn, np.array([0.5, 0.0, z])))) > 0 for z in heights]
    assert reached[0] and not reached[-1]
    highest, possible = heights[np.flatnonzero(reached)[-1]], heights[np.flatnonzero(alone)[-1]]
    np.testing.assert_allclose(possible - highest, LIFT, atol=0.021)


def test_the_base_can_stand_elsewhere():
    base = look_at(np.array([0.5, -0.6, 0.0]), np.array([0.5, 0.0, 0.0]))
    base[:3, :3] = rotation_from_vector(np.array([0.0, 0.0, np.pi / 2]))
    arm = Arm(world_from_base=base)
    joints = arm.reach(palm_down(0.5, 0.2))
    assert joints is not None
    np.testing.assert_allclose(arm.palm(joints), palm_down(0.5, 0.2), atol=1e-9)
