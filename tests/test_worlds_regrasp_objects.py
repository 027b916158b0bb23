import numpy as np
import pytest

from palpate.core.errors import UnknownNameError
from palpate.core.transforms import look_at
from palpate.sensors.camera import Camera, CameraConfig
from palpate.sensors.geometry import Box
from palpate.worlds.household import GraspObject, box, capsule, ellipsoid, frustum, half_turn, prism, put, stone
from palpate.worlds.household_rays import MISS, enter_part, pack
from palpate.worlds.household_sets import FAMILY, object_set, training_objects
from palpate.worlds.household_unseen import EASY_MASSES, HARD_MASSES
from palpate.worlds.household_view import SceneCamera, half_extent, seen

PARTS = {
    "box": box(0.02, 0.03, 0.01),
    "ellipsoid": ellipsoid(0.02, 0.03, 0.025),
    "capsule": capsule(0.012, 0.02),
    "cylinder": frustum(0.02, 0.02, 0.03),
    "cone": frustum(0.03, 0.008, 0.025),
    "cup": frustum(0.01, 0.03, 0.015),
    "prism": prism(6, 0.03, 0.02, 0.025),
    "stone": stone(np.random.default_rng(3), (0.03, 0.02, 0.025), 14),
}


def inside(part, points: np.ndarray) -> np.ndarray:
    """Which points (N, 3) lie in a part, by definition."""
    x, y, z = points.T
    s = part.size
    if part.kind == "box":
        return (np.abs(points) <= s).all(axis=1)
    if part.kind == "ellipsoid":
        return ((points / np.array(s)) ** 2).sum(axis=1) <= 1
    if part.kind == "capsule":
        return np.linalg.norm(points - np.stack([0 * x, 0 * x, np.clip(z, -s[1], s[1])], 1), axis=1) <= s[0]
    if part.kind == "frustum":
        return (np.abs(z) <= s[2]) & (np.hypot(x, y) <= s[0] + (s[1] - s[0]) * (z + s[2]) / (2 * s[2]))
    planes = pack(GraspObject(name="p", parts=(part,), mass=1.0, friction=1.0))[4]
    return (points @ planes[:, :3].T + planes[:, 3] <= 0).all(axis=1)


@pytest.mark.parametrize("name", PARTS)
def test_rays_enter_a_part_where_its_inside_begins(name):
    part = PARTS[name]
    kinds, _, _, sizes, planes, _ = pack(GraspObject(name=name, parts=(part,), mass=1.0, friction=1.0))
    rng = np.random.default_rng(0)
    steps = np.linspace(-0.15, 0.15, 6001)
    hits = 0
    for k in range(200):
        origin, direction = rng.uniform(-0.03, 0.03, 3), rng.normal(size=3)
        if k % 10 == 0:
            direction = np.eye(3)[k // 10 % 3]
        direction /= np.linalg.norm(direction)
        within = inside(part, origin + steps[:, None] * direction)
        t = enter_part(kinds[0], origin, direction, sizes[0], planes)
        if within.sum() > 2:
            hits += 1
            np.testing.assert_allclose(t, steps[np.argmax(within)], atol=6e-5, err_msg=f"{origin} {direction}")
        elif not within.any():
            # A grazing ray may pass within less than a step.
            assert t == MISS or not inside(part, (origin + (t + 1e-4) * direction)[None])[0]
    assert hits > 50


@pytest.mark.parametrize("name", PARTS)
def test_volume_and_extent_are_those_of_the_part(name):
    part = PARTS[name]
    half = np.array(half_extent(part))
    points = np.random.default_rng(1).uniform(-1, 1, (200_000, 3)) * half
    np.testing.assert_allclose(inside(part, points).mean() * 8 * half.prod(), part.volume, rtol=0.02)
    beyond = points * 1.3
    assert not inside(part, beyond[(np.abs(beyond) > half * 1.001).any(axis=1)]).any()


def test_the_scene_camera_sees_a_box_as_the_houses_camera_does():
    config = CameraConfig(world_from_camera=look_at(np.array([1.3, 0.0, 0.5]), np.array([0.55, 0.0, 0.04])), rgb_noise=0.0)
    pose = np.eye(4)
    pose[:3, 3] = [0.55, 0.02, 0.03]
    thing = GraspObject(
        name="b", parts=(put(box(0.02, 0.03, 0.01), (0.0, 0.0, 0.0), half_turn("z", 30)),), mass=1.0, friction=1.0
    )
    (part,) = seen(thing, pose)
    twin = Box(world_from_body=part.world_from_body, half_sizes=(0.02, 0.03, 0.01), colour=thing.colour)
    rgb, depth = SceneCamera(config).render([part])
    expected_rgb, expected_depth = Camera(config).render([twin])
    np.testing.assert_allclose(depth, expected_depth, atol=1e-5)
    on = expected_depth < Camera(config).render([])[1]
    assert on.sum() > 500 and np.median(np.abs(rgb[on].astype(int) - expected_rgb[on])) <= 1


def test_training_objects_are_many_and_vary_independently():
    things = [thing for seed in range(6) for thing in training_objects(seed)]
    assert len(training_objects(0)) >= 65 and len({thing.name for thing in things}) == len(things)
    size = [max(np.linalg.norm(np.array(p.at)) + max(half_extent(p)) for p in t.parts) for t in things]
    columns = [size, [t.mass for t in things], [t.friction for t in things], [t.young is not None for t in things]]
    columns += [[t.colour[c] for t in things] for c in range(3)]
    correlation = np.corrcoef(np.array(columns, float)) - np.eye(len(columns))
    assert np.abs(correlation).max() < 0.15
    masses = np.array(columns[1])
    assert masses.min() >= 0.010 and masses.max() <= 0.380 and 0.09 < np.median(masses) < 0.15
    assert 0.2 < np.mean(columns[3]) < 0.5


def test_training_objects_are_the_same_for_ever_and_of_the_numbers_promised():
    assert training_objects(0) == training_objects(0) != training_objects(1)
    kinds = [thing.name.split("-")[0] for thing in training_objects(0)]
    assert {kind: kinds.count(kind) for kind in FAMILY} == {kind: count for kind, (_, count) in FAMILY.items()}


def test_the_unseen_sets_have_the_papers_masses_and_no_training_kind():
    easy, hard = object_set("easy"), object_set("hard")
    assert tuple(t.mass for t in easy) == EASY_MASSES and tuple(t.mass for t in hard) == HARD_MASSES
    assert len(EASY_MASSES) == len(HARD_MASSES) == 11
    kinds = {name for t in (*easy, *hard) for name in t.name.split("-")[1:]}
    assert len(kinds) == 22 and not kinds & set(FAMILY)
    assert np.mean([t.friction for t in hard]) < np.mean([t.friction for t in easy])
    assert sum(t.young is not None for t in hard) > sum(t.young is not None for t in easy)


def test_every_thing_fits_into_the_open_gripper_some_way_round():
    for name in ("training", "easy", "hard"):
        for thing in object_set(name):
            corners = np.concatenate([np.abs(np.array(p.at)) + np.array(half_extent(p)) for p in thing.parts]).reshape(-1, 3)
            assert 2 * corners.max(axis=0).min() < 0.090, thing.name


def test_an_unknown_set_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match="allowed: easy, hard, training"):
        object_set("middling")
