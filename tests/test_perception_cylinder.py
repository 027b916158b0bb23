import numpy as np
import pytest

from palpate.core.errors import PalpateError
from palpate.core.transforms import look_at, pose, rotation_z
from palpate.perception.cylinder import fit_cylinder
from palpate.sensors.camera import CameraConfig
from palpate.worlds.household import GraspObject, Part, box, ellipsoid, frustum
from palpate.worlds.household_view import SceneCamera, seen


@pytest.fixture(scope="module")
def camera() -> SceneCamera:
    place = look_at(np.array([1.30, 0.0, 0.52]), np.array([0.55, 0.0, 0.04]))
    return SceneCamera(CameraConfig(world_from_camera=place, focal_px=900.0, disparity_noise=0.05))


def fitted(camera: SceneCamera, part: Part, half_height: float, xy: tuple[float, float], yaw: float = 0.0, seed: int = 0):
    rng = np.random.default_rng(seed)
    thing = GraspObject(name="thing", parts=(part,), mass=0.1, friction=0.5)
    scene = seen(thing, pose(rotation_z(yaw), np.array([*xy, half_height])))
    return fit_cylinder(camera.observe_depth([], rng), camera.observe_depth(scene, rng), camera)


@pytest.mark.parametrize("xy", [(0.50, -0.10), (0.55, 0.0), (0.62, 0.10)])
@pytest.mark.parametrize(("radius", "half"), [(0.015, 0.020), (0.030, 0.045), (0.038, 0.020)])
def test_an_upright_tin_is_enclosed(camera, xy, radius, half):
    found = fitted(camera, frustum(radius, radius, half), half, xy)
    np.testing.assert_allclose(found.position[:2], xy, atol=0.006)
    np.testing.assert_allclose([found.radius, found.height], [radius, 2 * half], atol=0.005)
    assert found.position[2] == found.height
    np.testing.assert_allclose(found.pixel, camera.project(np.array([*xy, half])), atol=12)


def test_a_long_box_is_enclosed_whichever_way_it_lies(camera):
    for yaw in (0.0, 0.6, 1.3, np.pi / 2):
        found = fitted(camera, box(0.040, 0.015, 0.015), 0.015, (0.55, 0.02), yaw)
        np.testing.assert_allclose(found.position[:2], (0.55, 0.02), atol=0.007)
        np.testing.assert_allclose(found.radius, np.hypot(0.040, 0.015), atol=0.006)


def test_a_ball_is_found_to_within_a_third_of_its_radius(camera):
    found = fitted(camera, ellipsoid(0.03, 0.03, 0.03), 0.03, (0.55, 0.0))
    assert np.hypot(*(found.position[:2] - [0.55, 0.0])) < 0.01
    np.testing.assert_allclose(found.height, 0.06, atol=0.004)


def test_a_small_die_is_found_before_the_noise_of_the_far_table(camera):
    for seed in range(5):
        found = fitted(camera, box(0.009, 0.009, 0.009), 0.009, (0.60, -0.11), seed=seed)
        np.testing.assert_allclose(found.position[:2], (0.60, -0.11), atol=0.006)


def test_an_empty_table_is_an_error_that_says_what_is_missing(camera):
    rng = np.random.default_rng(0)
    with pytest.raises(PalpateError, match="no object found"):
        fit_cylinder(camera.observe_depth([], rng), camera.observe_depth([], rng), camera)
