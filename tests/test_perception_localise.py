import numpy as np
import pytest

from palpate.core.errors import PalpateError
from palpate.core.transforms import look_at, pose, rotation_z
from palpate.perception.localise import SMALLEST, locate_object
from palpate.sensors.camera import Camera, CameraConfig
from palpate.sensors.geometry import Box, Capsule, Ellipsoid, Primitive

LIE_DOWN = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


@pytest.fixture(scope="module")
def camera() -> Camera:
    return Camera(CameraConfig(world_from_camera=look_at(np.array([1.15, 0.0, 0.55]), np.array([0.55, 0.0, 0.02]))))


def toy(xy: np.ndarray, axes: np.ndarray, yaw: float, *, lying: bool) -> tuple[Ellipsoid, float]:
    """Return an ellipsoid that rests on the table, and its height."""
    turn = rotation_z(yaw) @ LIE_DOWN if lying else rotation_z(yaw)
    half = axes[1] if lying else axes[2]
    return Ellipsoid(world_from_body=pose(turn, np.array([*xy, half])), half_axes=tuple(axes.tolist())), 2 * half


def find(camera: Camera, before: list[Primitive], after: list[Primitive], rng: np.random.Generator):
    return locate_object(camera.observe_depth(before, rng), camera.observe_depth(after, rng), camera)


def test_upright_and_lying_ellipsoids_of_every_yaw_are_located_to_a_few_millimetres(camera):
    rng = np.random.default_rng(1)
    errors = []
    for i in range(200):
        xy = np.array([rng.uniform(0.45, 0.65), rng.uniform(-0.2, 0.2)])
        body, height = toy(xy, rng.uniform(0.020, 0.045, 3), rng.uniform(-np.pi, np.pi), lying=i % 2 == 1)
        located = find(camera, [], [body], rng)
        errors.append([*(located.position[:2] - xy), located.position[2] - height])
    bias, spread = np.mean(errors, axis=0) * 1e3, np.std(errors, axis=0) * 1e3
    np.testing.assert_allclose(bias, 0.0, atol=1.0, err_msg=f"bias {bias} mm, spread {spread} mm")
    assert spread.max() < 3.0, f"bias {bias} mm, spread {spread} mm"


def test_a_long_object_that_lies_askew_is_not_drawn_to_one_side(camera):
    """Its axes are not those of the world: a paraboloid without the cross term misses it by more than a centimetre."""
    axes = np.array([0.045, 0.022, 0.022])
    for yaw in np.deg2rad([-60, -45, -30, 30, 45, 60]):
        xy = np.array([0.55, 0.05])
        body, _ = toy(xy, axes, float(yaw), lying=False)
        found = np.mean([find(camera, [], [body], np.random.default_rng(k)).position[:2] for k in range(4)], axis=0)
        np.testing.assert_allclose(found, xy, atol=0.003)


def test_what_stands_there_before_and_after_does_not_matter(camera):
    arm = Capsule(world_from_body=pose(np.eye(3), np.array([0.45, -0.1, 0.1])), radius=0.02, half_length=0.05)
    body, _ = toy(np.array([0.58, 0.08]), np.array([0.03, 0.027, 0.036]), 0.4, lying=False)
    located = find(camera, [arm], [arm, body], np.random.default_rng(0))
    np.testing.assert_allclose(located.position[:2], [0.58, 0.08], atol=0.004)


def test_the_pixel_lies_on_the_object_and_the_larger_of_two_changes_is_taken(camera):
    body, _ = toy(np.array([0.60, -0.12]), np.array([0.035, 0.03, 0.04]), 0.0, lying=False)
    small, _ = toy(np.array([0.50, 0.15]), np.array([0.012, 0.012, 0.012]), 0.0, lying=False)
    located = find(camera, [], [small, body], np.random.default_rng(0))
    np.testing.assert_allclose(located.position[:2], [0.60, -0.12], atol=0.004)
    np.testing.assert_allclose(located.pixel, camera.project(np.array([0.60, -0.12, 0.04])), atol=10)
    assert located.n_pixels > SMALLEST


def test_a_flat_topped_object_is_found_within_its_own_top(camera):
    block = Box(world_from_body=pose(rotation_z(0.3), np.array([0.55, 0.0, 0.03])), half_sizes=(0.03, 0.03, 0.03))
    located = find(camera, [], [block], np.random.default_rng(0))
    assert np.linalg.norm(located.position[:2] - [0.55, 0.0]) < 0.03
    np.testing.assert_allclose(located.position[2], 0.06, atol=0.005)


def test_noise_alone_is_never_an_object(camera):
    """Over many frames: with a threshold of 80 pixels about every second empty table had one."""
    rng = np.random.default_rng(3)
    for _ in range(60):
        with pytest.raises(PalpateError, match="no object found"):
            find(camera, [], [], rng)


def test_an_object_taken_away_or_lost_depth_is_no_new_object(camera):
    body, _ = toy(np.array([0.55, 0.0]), np.array([0.03, 0.027, 0.036]), 0.0, lying=False)
    with pytest.raises(PalpateError, match="no object found"):
        find(camera, [body], [], np.random.default_rng(0))
    empty = camera.observe_depth([], np.random.default_rng(0))
    lost = empty.copy()
    lost[100:300, 200:400] = 0.0
    with pytest.raises(PalpateError, match="no object found"):
        locate_object(empty, lost, camera)
