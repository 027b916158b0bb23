"""The dexterous world's parts: hand, objects, distances, prior, rigid stage."""

import importlib.metadata

import mujoco
import numpy as np
import pytest

from palpate.core.errors import MissingPackageError, PalpateError, RecordError
from palpate.core.records import Observation
from palpate.core.transforms import apply, inverse, pose, pose_from_vector, quaternion_to_matrix, rotation_from_vector
from palpate.worlds import shadow
from palpate.worlds.dexterous_distance import signed_distance
from palpate.worlds.dexterous_objects import dexterous_objects, mesh_object
from palpate.worlds.dexterous_physics import GRAVITY, HandRig
from palpate.worlds.dexterous_prior import MEANS, GraspPrior, truncated
from palpate.worlds.dexterous_squeeze import squeeze_ends
from palpate.worlds.household import GraspObject, box, capsule, ellipsoid, frustum, half_turn, prism, put
from palpate.worlds.shadow import ACTUATED, COUPLED, JOINTS, RANGES, TENDON, check_joints, coupled, hand_clearance, preshape


def number(name: str) -> int:
    return JOINTS.index(name)


def bent(**angles: float) -> np.ndarray:
    out = np.zeros(len(JOINTS))
    for name, angle in angles.items():
        out[number(name)] = angle
    return out


# -- hand ----------------------------------------------------------------------------------------------------------------------


def test_joints_ranges_couplings_and_torques_are_those_of_the_installed_model():
    model = shadow.hand_spec().compile()
    assert [model.joint(i).name for i in range(model.nq)] == [f"robot0:{name}" for name in JOINTS]
    np.testing.assert_allclose(model.jnt_range, RANGES, atol=1e-9)
    assert [model.actuator(i).name for i in range(model.nu)] == [f"robot0:A_{JOINTS[i]}" for i in ACTUATED]
    np.testing.assert_allclose(model.actuator("robot0:A_FFJ1").forcerange, [-0.7245, 0.7245])
    assert model.ntendon == len(COUPLED) and model.npair == 19
    for k in range(model.ntendon):
        np.testing.assert_allclose(model.wrap_prm[model.tendon_adr[k] : model.tendon_adr[k] + 2], [TENDON[0], -TENDON[1]])
        np.testing.assert_allclose(model.tendon_range[k], [-TENDON[2], TENDON[2]])


def test_a_coupled_joint_follows_its_leader_when_the_motor_moves_it():
    model = shadow.hand_spec().compile()
    model.opt.gravity[:] = 0.0
    data = mujoco.MjData(model)
    data.ctrl[ACTUATED.index(number("FFJ1"))] = 1.2
    mujoco.mj_step(model, data, 1500)
    follower, leader = data.qpos[[number("FFJ0"), number("FFJ1")]]
    assert leader > 0.8
    assert abs(TENDON[0] * follower - TENDON[1] * leader) < TENDON[2] + 1e-4
    check_joints(np.clip(data.qpos, *RANGES.T), repair=False, slack=0.01)


def test_joints_out_of_range_are_named_with_value_and_range():
    for joints, words in (
        (bent(FFJ2=1.8), r"FFJ2 is 1\.8, allowed 0 to 1\.571 rad"),
        (bent(THJ0=0.2, LFJ4=-0.1), r"LFJ4 is -0\.1, .* THJ0 is 0\.2, allowed -1\.571 to 0"),
        (bent(MFJ3=np.nan), "MFJ3 is nan"),
        (np.zeros(20), r"\(22,\) angles"),
    ):
        with pytest.raises(RecordError, match=words):
            check_joints(joints)


def test_inconsistent_coupled_joints_are_repaired_with_a_word_or_refused():
    joints, words = check_joints(bent(FFJ1=0.7, FFJ0=0.1))
    assert len(words) == 1 and "FFJ0" in words[0] and "FFJ1" in words[0]
    np.testing.assert_allclose(TENDON[1] * 0.7 - TENDON[0] * joints[number("FFJ0")], TENDON[2], atol=1e-9)
    with pytest.raises(RecordError, match=r"FFJ0 0\.100 set to"):
        check_joints(bent(FFJ1=0.7, FFJ0=0.1), repair=False)
    joints, words = check_joints(bent(RFJ1=1.57, RFJ0=1.57))
    assert joints[number("RFJ1")] < 1.51 and "RFJ1" in words[0], "J0 cannot follow a fully bent J1"
    assert check_joints(coupled(bent(LFJ1=0.9)), repair=False)[1] == ()


def test_angles_a_little_out_of_range_are_set_to_its_end_if_asked():
    joints, words = check_joints(bent(THJ0=0.05), slack=0.1)
    assert joints[number("THJ0")] == 0.0 and words == ("THJ0 0.050 set to 0.000",)


def test_a_missing_package_is_told_with_its_install_line(monkeypatch):
    def missing(name: str):
        raise importlib.metadata.PackageNotFoundError(name)

    shadow.model_path.cache_clear()
    monkeypatch.setattr(shadow, "files", missing)
    with pytest.raises(MissingPackageError, match="pip install"):
        shadow.model_path()
    monkeypatch.undo()
    shadow.model_path.cache_clear()
    assert shadow.model_path().is_file()


def test_the_palm_is_put_where_it_is_wanted_and_its_lowest_point_is_found():
    upright = pose(np.eye(3), np.array([0.3, 0.1, 0.5]))
    # The mount's end of the forearm is lowest; its cylinder ends 253 mm behind the palm's frame.
    np.testing.assert_allclose(hand_clearance(upright, np.zeros(22)), 0.5 - 0.29 + 0.154 - 0.117, atol=1e-9)
    down = pose(rotation_from_vector(np.array([np.pi, 0.0, 0.0])), np.array([0.3, 0.1, 0.5]))
    np.testing.assert_allclose(hand_clearance(down, np.zeros(22)), 0.5 - (0.099 + 0.045 + 0.025 + 0.024 + 0.00705), atol=1e-6)


# -- objects -------------------------------------------------------------------------------------------------------------------


def test_objects_differ_and_number_i_stays_whatever_how_many():
    many = dexterous_objects(120)
    assert len({thing.name for thing in many}) == 120 and len({thing.parts for thing in many}) == 120
    assert dexterous_objects(5) == many[:5]
    assert dexterous_objects(5, seed=1)[0].parts != many[0].parts
    soft = [thing for thing in many if thing.young is not None]
    assert 30 < len(soft) < 90
    assert max(t.young for t in soft) / min(t.young for t in soft) > 50 and len({t.poisson for t in soft}) == len(soft)


SHAPES = {
    "ellipsoid": ellipsoid(0.04, 0.02, 0.03),
    "box": box(0.02, 0.03, 0.01),
    "capsule": capsule(0.012, 0.03),
    "frustum": frustum(0.03, 0.015, 0.025),
    "prism": prism(6, 0.03, 0.03, 0.02),
}


def surface_of(name: str, rng: np.random.Generator) -> np.ndarray:
    """Points (n, 3) all over a shape's surface, found from its formula and not from the distance."""
    s = SHAPES[name].size
    way = rng.normal(size=(200_000, 3))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    if name == "ellipsoid":
        return way / np.linalg.norm(way / s, axis=1, keepdims=True)
    if name == "box":
        return way / np.abs(way / s).max(axis=1, keepdims=True)
    if name == "capsule":
        ends = s[0] * way + [0, 0, 1] * (s[1] * np.sign(way[:, 2:]))
        ring = s[0] * way[:, :2] / np.linalg.norm(way[:, :2], axis=1, keepdims=True)
        return np.concatenate([ends, np.column_stack([ring, rng.uniform(-s[1], s[1], len(way))])])
    if name == "frustum":
        z, turn = rng.uniform(-s[2], s[2], len(way)), rng.uniform(0, 2 * np.pi, len(way))
        round_ = np.stack([np.cos(turn), np.sin(turn)], 1)
        side = np.column_stack([(s[0] + (s[1] - s[0]) * (z / s[2] + 1) / 2)[:, None] * round_, z])
        share = np.sqrt(rng.random(len(way)))[:, None]
        return np.concatenate(
            [side, *(np.column_stack([r * share * round_, np.full(len(z), h)]) for r, h in ((s[0], -s[2]), (s[1], s[2])))]
        )
    planes = np.array([[np.cos(a), np.sin(a), 0.0] for a in 2 * np.pi * (np.arange(6) + 1) / 6])
    heights = (way @ planes.T) / (0.03 * np.cos(np.pi / 6))
    return way / np.maximum(heights.max(axis=1), np.abs(way[:, 2]) / 0.02)[:, None]


@pytest.mark.parametrize("name", list(SHAPES))
def test_distances_agree_with_the_nearest_of_many_points_of_the_surface(name):
    from scipy.spatial import cKDTree

    rng = np.random.default_rng(1)
    part = put(SHAPES[name], (0.01, -0.02, 0.005), half_turn("y", 40.0))
    thing = GraspObject(name=name, parts=(part,), mass=0.1, friction=0.5)
    place = pose(quaternion_to_matrix(np.array(part.turn)), np.array(part.at))
    surface = surface_of(name, rng)
    points = rng.uniform(-0.06, 0.06, (400, 3))
    found = signed_distance(thing, apply(place, points))
    nearest = cKDTree(surface).query(points)[0]
    if name == "prism":  # over edges the planes' distance is too small, never too large
        assert (np.abs(found) <= nearest + 1e-9).all()
        near = (found < 0) | (nearest < 0.003)
        assert near.sum() > 20
        np.testing.assert_allclose(np.abs(found)[found < 0], nearest[found < 0], atol=4e-4)
    else:
        assert (np.abs(found) <= nearest + 1e-9).all(), "no point of the surface is nearer"
        np.testing.assert_allclose(np.abs(found), nearest, atol=8e-4)
    np.testing.assert_allclose(signed_distance(thing, apply(place, surface[:1000])), 0.0, atol=1e-6)  # corners are rounded so
    middle = signed_distance(thing, apply(place, np.zeros((1, 3))))[0]
    assert middle < -0.005, "the inside is negative"


def test_distances_never_change_faster_than_the_point_moves():
    rng = np.random.default_rng(2)
    for thing in dexterous_objects(30):
        points = rng.uniform(-0.08, 0.08, (500, 3))
        moves = 0.002 * rng.normal(size=(500, 3))
        change = np.abs(signed_distance(thing, points + moves) - signed_distance(thing, points))
        assert (change <= np.linalg.norm(moves, axis=1) * (1 + 1e-6) + 1e-9).all(), thing.name


def test_objects_of_mesh_parts_keep_the_places_of_their_corners():
    corners = np.array([(x, y, z) for x in (0.0, 0.02) for y in (0.0, 0.03) for z in (0.01, 0.05)])
    thing = mesh_object("brick", [corners], mass=0.1, friction=0.6)
    np.testing.assert_allclose(signed_distance(thing, corners), 0.0, atol=1e-7)
    np.testing.assert_allclose(signed_distance(thing, np.array([[0.01, 0.015, 0.07]])), 0.02, atol=1e-7)
    with pytest.raises(RecordError, match=r"part 0 is \(2, 3\)"):
        mesh_object("line", [corners[:2]], mass=0.1, friction=0.6)
    with pytest.raises(RecordError, match="no parts"):
        mesh_object("nothing", [], mass=0.1, friction=0.6)


# -- prior ---------------------------------------------------------------------------------------------------------------------

PLACE, SIZE = np.array([0.55, 0.03, 0.06]), np.array([0.03, 0.06])


def test_truncated_normals_stay_inside_and_keep_their_shape():
    rng = np.random.default_rng(0)
    n = np.ones(20_000)
    values = truncated(rng, 1.0 * n, 0.5 * n, 0.9 * n, 3.0 * n)
    assert values.min() >= 0.9 and values.max() <= 3.0
    np.testing.assert_allclose(values.mean(), 1.0 + 0.5 * 0.67481, atol=0.01)  # phi(-.2) / (1 - Phi(-.2)), cut far above
    far = truncated(rng, -40.0 * n[:5], 0.1 * n[:5], 0.0 * n[:5], n[:5])
    assert ((far >= 0) & (far <= 1)).all(), "also where next to nothing of the bell is inside"


def test_draws_stay_within_the_real_ranges_and_the_arms_reach():
    prior, rng = GraspPrior(), np.random.default_rng(0)
    drawn = [prior.draw(rng, PLACE, SIZE) for _ in range(60)]
    for palm, joints in drawn:
        _, words = check_joints(joints, repair=False)
        assert words == ()
        assert prior.arm.reach(pose_from_vector(palm)) is not None
        assert hand_clearance(pose_from_vector(palm), preshape(joints)) > 0.003
    spread = np.std([joints for _, joints in drawn], axis=0)
    assert (spread > 0.03).all(), "every joint is drawn"
    middles = np.array([apply(inverse(pose_from_vector(palm)), np.array([0.55, 0.03, 0.03])) for palm, _ in drawn])
    assert np.abs(middles.mean(axis=0) - [0.038, -0.066, 0.12]).max() < 0.03, "the object is between fingers and thumb"


def test_a_place_out_of_reach_is_told():
    with pytest.raises(PalpateError, match="within the arm's reach"):
        GraspPrior().draw(np.random.default_rng(0), PLACE + [2.0, 0.0, 0.0], SIZE)


def test_a_wanted_pose_is_raised_out_of_the_table_or_given_up():
    prior = GraspPrior()
    palm, _ = prior.draw(np.random.default_rng(0), PLACE, SIZE)
    low = palm - [0, 0, 0.05, 0, 0, 0]
    near = prior.nearest(low, Observation())
    np.testing.assert_allclose(np.delete(near, 2), np.delete(low, 2), atol=1e-12)
    np.testing.assert_allclose(hand_clearance(pose_from_vector(near), preshape(MEANS)), 0.004, atol=1e-9)
    np.testing.assert_allclose(prior.nearest(near, Observation()), near, atol=1e-9)
    assert prior.nearest(palm + [2.0, 0, 0, 0, 0, 0], Observation()) is None


# -- rigid stage ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rig() -> HandRig:
    block = mesh_object(
        "block",
        [np.array([(x, y, z) for x in (-0.02, 0.02) for y in (-0.025, 0.025) for z in (0, 0.07)])],
        mass=0.15,
        friction=0.8,
    )
    return HandRig(block)


STANDING = pose(np.eye(3), np.array([0.55, 0.0, 0.0]))


def held_grasp(rig: HandRig, tries: int = 40):
    """Draw grasps until one holds, and leave the rig holding."""
    prior, rng = GraspPrior(), np.random.default_rng(5)
    for _ in range(tries):
        palm, joints = prior.draw(rng, np.array([0.55, 0.0, 0.07]), np.array([0.03, 0.07]))
        rig.reset(STANDING)
        back = rig.free_retreat(pose_from_vector(palm), preshape(joints))
        rig.close(joints)
        closed = rig.contacts()
        if rig.lift():
            return back, closed
    raise AssertionError(f"none of {tries} draws held")


def test_a_held_object_hangs_on_forces_that_carry_its_weight(rig):
    _, closed = held_grasp(rig)
    forces = rig.contacts()
    weight = rig.thing.mass * GRAVITY
    total = sum(contact.force for contact in forces)
    np.testing.assert_allclose(total, [0.0, 0.0, weight], atol=0.1 * weight)
    assert len({contact.finger for contact in forces}) >= 2
    for contact in (*closed, *forces):
        assert 0 < contact.normal_force < 30
        across = contact.force - contact.normal_force * contact.normal
        np.testing.assert_allclose(np.linalg.norm(contact.normal), 1.0, atol=1e-9)
        assert np.linalg.norm(across) <= 1.05 * rig.thing.friction * contact.normal_force + 0.05, "Coulomb's law"
        assert signed_distance(rig.thing, apply(inverse(rig.object_pose()), contact.position[None]))[0] < 0.03
    assert rig.data.contact.dist[: rig.data.ncon].min() > -0.002, "nothing sinks in"


def test_a_hand_without_targets_lifts_nothing(rig):
    rig.reset(STANDING)
    rig.move(0.1)
    assert rig.contacts() == [] and rig.lift() is False


def test_an_open_hand_backs_off_from_what_it_would_hit(rig):
    rig.reset(STANDING)
    inside = pose(rotation_from_vector(np.array([np.pi / 2 + 0.5, 0.0, 0.0])), np.array([0.55, 0.0, 0.09]))
    back = rig.free_retreat(inside, np.zeros(22))
    assert back > 0.0
    assert rig.contacts() == [] and rig.clearance() >= 0.0


def test_restoring_a_snapshot_gives_the_same_future(rig):
    held_grasp(rig)
    kept = rig.snapshot()
    rig.move(0.1, rig.targets() + 0.1)
    first = rig.data.qpos.copy()
    rig.restore(kept)
    rig.move(0.1, rig.targets() + 0.1)
    np.testing.assert_array_equal(first, rig.data.qpos)


def test_squeezing_moves_the_fingers_towards_the_object(rig):
    held_grasp(rig)
    joints = np.clip(rig.joints(), *RANGES.T)
    opened, squeezed = squeeze_ends(rig, rig.thing, joints, 0.2)
    assert ((opened >= RANGES[:, 0]) & (squeezed <= RANGES[:, 1])).all()
    gaps = []
    palm = pose(rig.link_pose("palm")[:3, :3], rig.link_pose("palm")[:3, 3])
    at = rig.object_pose()
    for pose_of_hand in (opened, joints, squeezed):
        rig.place(palm, pose_of_hand)
        tips = np.array([rig.link_middle(f"{finger}distal") for finger in ("ff", "mf", "th")])
        gaps.append(signed_distance(rig.thing, apply(inverse(at), tips)).mean())
    assert gaps[0] > gaps[1] > gaps[2]
