import numpy as np
import pytest

from palpate.core.errors import RecordError
from palpate.sensors.touch.contact import Pad
from palpate.sensors.touch.soft import BONDED, SoftBall, press_soft
from palpate.sensors.touch.soft_fem import press_finite
from touch_reference import MM

GRID = {"shape": (61, 61), "pitch": (0.2 * MM, 0.2 * MM)}


def gel(thickness=np.inf, young=0.15e6):
    return Pad(width=0.1, height=0.1, thickness=thickness, young=young, poisson=0.48)


def contact_modulus(body):
    return body.young / (1 - body.poisson**2)


def normal_force(contact):
    return float(contact.force[2])


@pytest.mark.parametrize("young", [0.05e6, 0.5e6])
def test_two_half_spaces_press_as_hertz_says(young):
    pad, ball = gel(), SoftBall(young=young, radius=12 * MM)
    depths = np.array([0.1, 0.2]) * MM
    both = 1 / (1 / contact_modulus(pad) + 1 / contact_modulus(ball))
    share = both / contact_modulus(pad)  # of the approach, that of the gel
    for depth, contact in zip(depths, press_soft(pad, ball, depths, **GRID), strict=True):
        np.testing.assert_allclose(normal_force(contact), 4 / 3 * both * np.sqrt(ball.radius) * depth**1.5, rtol=0.01)
        np.testing.assert_allclose(contact.contact_radius, np.sqrt(ball.radius * depth), atol=0.1 * MM)
        np.testing.assert_allclose(contact.sunk.max(), share * depth, rtol=0.01)


def confounded_balls():
    """Two balls of the same phi / R."""
    pad = gel()
    balls = []
    for radius, share in ((8 * MM, 0.3), (16 * MM, 0.6)):
        other = contact_modulus(pad) * share / (1 - share)
        balls.append(SoftBall(young=other * (1 - 0.48**2), radius=radius))
    return balls


def test_pictures_and_force_confound_stiffness_and_radius_on_a_thick_gel():
    soft, stiff = confounded_balls()
    assert stiff.young > 3 * soft.young
    first, second = (press_soft(gel(), ball, [(1.2 * MM) ** 2 / ball.radius], **GRID)[0] for ball in (soft, stiff))
    np.testing.assert_allclose(first.sunk, second.sunk, atol=0.015 * first.sunk.max())
    np.testing.assert_allclose(normal_force(first), normal_force(second), rtol=0.015)
    np.testing.assert_allclose(float(first.approach), 2 * float(second.approach), rtol=1e-6)


def test_a_thin_gel_tells_them_apart():
    soft, stiff = confounded_balls()
    radii, peaks = [], []
    for ball in (soft, stiff):
        contacts = press_soft(gel(thickness=2 * MM), ball, np.linspace(0.05, 0.4, 12) * MM, **GRID)
        radii.append([float(c.contact_radius) for c in contacts])
        peaks.append([float(c.sunk.max()) for c in contacts])
    at = 1.6 * MM
    same_size = [np.interp(at, radius, peak) for radius, peak in zip(radii, peaks, strict=True)]
    assert abs(same_size[0] / same_size[1] - 1) > 0.04


def test_finite_elements_agree_with_the_other_solver_on_a_rigid_ball():
    pad, ball = gel(thickness=4 * MM), SoftBall(young=1e12, radius=8 * MM)
    depths = np.array([0.2, 0.5]) * MM
    for a, b in zip(press_soft(pad, ball, depths, **GRID), press_finite(pad, ball, depths, **GRID), strict=True):
        np.testing.assert_allclose(normal_force(b), normal_force(a), rtol=0.03)
        np.testing.assert_allclose(b.sunk, a.sunk, atol=0.015 * a.sunk.max())
        np.testing.assert_allclose(b.drift, a.drift, atol=0.04 * np.abs(a.drift).max())


def test_a_hemisphere_answers_between_a_half_space_and_a_bonded_layer_of_its_height():
    pad, ball = gel(thickness=6 * MM), SoftBall(young=0.05e6, radius=9 * MM)
    depths = np.array([0.3, 0.9, 1.8]) * MM
    least, most = (press_soft(pad, ball, depths, **GRID, support=s) for s in (0.0, BONDED))
    finite = press_finite(pad, ball, depths, **GRID)
    for low, middle, high in zip(least, finite, most, strict=True):
        assert normal_force(low) < normal_force(middle) < 1.02 * normal_force(high)
        assert low.sunk.max() < middle.sunk.max() < 1.02 * high.sunk.max()
    excess = [normal_force(m) / normal_force(low) - 1 for m, low in zip(finite, least, strict=True)]
    assert excess[0] < excess[1] < excess[2]


@pytest.mark.parametrize(("young", "radius"), [(0.05e6, 9 * MM), (0.3e6, 14 * MM)])
def test_the_plate_under_a_hemisphere_shortens_the_approach_and_leaves_the_imprint(young, radius):
    pad, ball = gel(thickness=6 * MM), SoftBall(young=young, radius=radius)
    depth = 0.08 * radius
    (finite,) = press_finite(pad, ball, [depth], **GRID)
    for support in (0.0, 0.27):
        contacts = press_soft(pad, ball, np.linspace(0.7, 1.6, 13) * depth, **GRID, support=support)
        forces = [normal_force(c) for c in contacts]
        peak, approach = (
            np.interp(normal_force(finite), forces, values)
            for values in ([c.sunk.max() for c in contacts], [float(c.approach) for c in contacts])
        )
        np.testing.assert_allclose(peak, finite.sunk.max(), rtol=0.03)
        assert abs(approach / depth - 1) < 0.03 if support else approach > 1.05 * depth


def test_depths_may_come_in_any_order_and_zero_is_no_contact():
    pad, ball = gel(thickness=4 * MM), SoftBall(young=0.1e6, radius=8 * MM)
    for solve in (press_soft, press_finite):
        up, down = (solve(pad, ball, depths, **GRID) for depths in ([0.0, 2e-4, 5e-4], [5e-4, 2e-4, 0.0]))
        assert not up[0].sunk.any() and not up[0].pressure.any()
        for a, b in zip(up, reversed(down), strict=True):
            np.testing.assert_allclose(a.sunk, b.sunk, atol=2e-3 * 5e-4)


def test_a_press_beside_the_middle_is_the_same_press_moved():
    pad, ball = gel(thickness=4 * MM), SoftBall(young=0.1e6, radius=8 * MM)
    shift = 4 * 0.2 * MM
    for solve in (press_soft, press_finite):
        (middle,), (beside,) = (solve(pad, ball, [4e-4], **GRID, centre=c) for c in ((0.0, 0.0), (shift, 0.0)))
        np.testing.assert_allclose(beside.sunk[:, 4:], middle.sunk[:, :-4], atol=2e-6)


def test_what_cannot_be_is_refused():
    ball = SoftBall(young=0.1e6, radius=6 * MM)
    with pytest.raises(RecordError, match="finite thickness"):
        press_finite(gel(), ball, [1e-4], **GRID)
    with pytest.raises(RecordError, match="press less"):
        press_finite(gel(thickness=4 * MM), ball, [4.5 * MM], **GRID)
    for wrong in ({"young": 0.0, "radius": 1.0}, {"young": 1.0, "radius": -1.0}, {"young": 1.0, "radius": 1.0, "poisson": 0.6}):
        with pytest.raises(RecordError, match="soft ball"):
            SoftBall(**wrong)
