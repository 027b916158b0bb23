import numpy as np
import pytest

from palpate.sensors.touch.contact import Pad
from palpate.sensors.touch.flat import press
from touch_reference import MM, YOUNG, ball, normal_force, pad

# ---- friction -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mindlin():
    radius, depth, pitch, nu, mu = 6 * MM, 0.4 * MM, 0.075 * MM, 0.3, 0.6
    gel = pad(np.inf, nu, mu)
    gap = ball(61, pitch, radius)
    force = normal_force(press(gel, gap, (pitch, pitch), depth=depth))
    shear = YOUNG / 2 / (1 + nu)
    contact = np.sqrt(radius * depth)
    full = 3 * mu * force * (2 - nu) / (16 * shear * contact)
    return gel, gap, pitch, depth, force, contact, full


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 0.9])
def test_a_sphere_slips_partly_as_cattaneo_and_mindlin_say(mindlin, share):
    gel, gap, pitch, depth, force, contact, full = mindlin
    got = press(gel, gap, (pitch, pitch), depth=depth, shift=(share * full, 0.0))
    want = gel.friction * force * (1 - (1 - share) ** 1.5)
    np.testing.assert_allclose(got.force[0], want, rtol=0.01)
    np.testing.assert_allclose(got.force[1], 0, atol=1e-4 * want)
    sticks = (np.hypot(*np.moveaxis(got.shear, -1, 0)) < gel.friction * got.pressure * (1 - 1e-3)) & (got.pressure > 0)
    radius = np.sqrt(sticks.sum() / np.pi) * pitch
    np.testing.assert_allclose(radius, contact * (1 - want / (gel.friction * force)) ** (1 / 3), atol=pitch)
    # Sticking cells go with the object.
    np.testing.assert_allclose(
        (got.drift - press(gel, gap, (pitch, pitch), depth=depth).drift)[sticks][:, 0], share * full, rtol=0.02
    )


def test_a_sphere_that_slides_carries_friction_times_force(mindlin):
    gel, gap, pitch, depth, force, _, full = mindlin
    got = press(gel, gap, (pitch, pitch), depth=depth, shift=(3 * full, -4 * full))
    np.testing.assert_allclose(got.force[:2], np.array([0.6, -0.8]) * gel.friction * force, rtol=5e-3)


def test_shear_never_leaves_coulombs_cone(mindlin):
    gel, gap, pitch, _, _, _, full = mindlin
    rng = np.random.default_rng(5)
    state = None
    for _ in range(6):
        state = press(
            gel,
            gap,
            (pitch, pitch),
            force=rng.uniform(0.02, 0.2),
            shift=rng.normal(size=2) * full,
            twist=rng.normal() * 0.05,
            before=state,
        )
        assert (np.hypot(*np.moveaxis(state.shear, -1, 0)) <= gel.friction * state.pressure * (1 + 1e-9)).all()


def test_a_turning_sphere_carries_at_most_the_moment_of_full_slip_and_little_of_it_as_reissner_and_sagoci_say(mindlin):
    gel, gap, pitch, depth, force, contact, _ = mindlin
    full = press(gel, gap, (pitch, pitch), depth=depth, twist=3.0)
    np.testing.assert_allclose(full.torque[2], 3 * np.pi / 16 * gel.friction * force * contact, rtol=0.01)
    np.testing.assert_allclose(full.force[:2], 0, atol=1e-3 * force)
    sticky = pad(np.inf, 0.3, 50.0)
    little = press(sticky, gap, (pitch, pitch), depth=depth, twist=1e-3)
    np.testing.assert_allclose(little.torque[2], 16 / 3 * YOUNG / 2.6 * contact**3 * 1e-3, rtol=0.03)


def test_shear_goes_on_from_the_state_before(mindlin):
    gel, gap, pitch, depth, _, _, full = mindlin
    at_once = press(gel, gap, (pitch, pitch), depth=depth, shift=(0.6 * full, 0.0))
    state = press(gel, gap, (pitch, pitch), depth=depth)
    for _ in range(4):
        state = press(gel, gap, (pitch, pitch), depth=depth, shift=(0.15 * full, 0.0), before=state)
    assert np.linalg.norm(state.shear - at_once.shear) < 0.02 * np.linalg.norm(at_once.shear)
    np.testing.assert_allclose(state.force[0], at_once.force[0], rtol=5e-3)
    held = press(gel, gap, (pitch, pitch), depth=depth, before=state)
    np.testing.assert_allclose(held.shear, state.shear, atol=5e-3 * state.shear.max())


def test_a_loop_of_shear_costs_energy_as_mindlin_and_deresiewicz_say(mindlin):
    gel, gap, pitch, depth, force, _, full = mindlin
    share, steps = 0.5, 8
    path = np.concatenate(
        [np.linspace(0, share, steps), np.linspace(share, -share, 2 * steps)[1:], np.linspace(-share, share, 2 * steps)[1:]]
    )
    state, pull = press(gel, gap, (pitch, pitch), depth=depth), [0.0]
    for step in np.diff(path) * full:
        state = press(gel, gap, (pitch, pitch), depth=depth, shift=(step, 0.0), before=state)
        pull.append(float(state.force[0]))
    spent = np.cumsum(np.diff(path) * full * (np.array(pull[1:]) + pull[:-1]) / 2)
    top = pull[steps - 1]
    # Unloading follows the curve of loading, doubled (Masing); the loop closes.
    back = np.interp(0.0, path[steps - 1 : 3 * steps - 2][::-1], np.array(pull[steps - 1 : 3 * steps - 2])[::-1])
    slipped = gel.friction * force
    np.testing.assert_allclose(top, slipped * (1 - (1 - share) ** 1.5), rtol=0.01)
    np.testing.assert_allclose(back, top - 2 * slipped * (1 - (1 - share / 2) ** 1.5), atol=0.02 * top)
    np.testing.assert_allclose(pull[-1], top, rtol=0.02)
    # Twice the area between loading's curve, doubled, and its chord (Mindlin and Deresiewicz 1953): integrated here.
    way = np.linspace(0, 2 * share, 2001)
    curve = 2 * slipped * (1 - (1 - way / 2) ** 1.5)
    area = 2 * full * (np.trapezoid(curve, way) - curve[-1] * share)
    lost = spent[-1] - spent[steps - 2]
    np.testing.assert_allclose(lost, area, rtol=0.1)


def test_pressing_and_letting_go_costs_nothing_and_any_closed_path_of_both_costs_something():
    gel, gap, pitch = pad(2 * MM), ball(40, 0.2 * MM, 6 * MM), (0.2 * MM, 0.2 * MM)
    depths = np.array([0.1, 0.2, 0.3, 0.3, 0.3, 0.2, 0.1]) * MM
    shifts = np.array([0, 0, 0, 0.1, 0.1, 0, -0.2]) * MM
    state, work = None, 0.0
    for depth, shift in zip(depths, shifts, strict=True):
        new = press(gel, gap, pitch, depth=depth, shift=(shift, 0.0), before=state)
        work += shift * float(new.force[0] + (0 if state is None else state.force[0])) / 2
        state = new
    assert work > 0
    alone = press(gel, gap, pitch, depth=0.1 * MM)
    np.testing.assert_allclose(state.pressure, alone.pressure, atol=5e-3 * alone.pressure.max())


def test_a_gel_that_sticks_holds_back_its_own_bulge_when_both_are_solved_together():
    gel, gap, pitch = pad(2 * MM, 0.48, 5.0), ball(40, 0.2 * MM, 6 * MM), (0.2 * MM, 0.2 * MM)
    free = press(gel, gap, pitch, depth=0.4 * MM)
    stuck = press(gel, gap, pitch, depth=0.4 * MM, coupled=True)
    inside = free.pressure > 0
    assert np.abs(stuck.drift[inside]).max() < 0.15 * np.abs(free.drift[inside]).max()
    assert 1.0 < normal_force(stuck) / normal_force(free) < 1.3
    rest = stuck.sunk + gap - gap.min() - 0.4 * MM
    np.testing.assert_allclose(rest[stuck.pressure > 0], 0, atol=0.01 * 0.4 * MM)


def test_coupling_changes_nothing_on_an_incompressible_half_space():
    gap, pitch = ball(40, 0.2 * MM, 6 * MM), (0.2 * MM, 0.2 * MM)
    a, b = (press(pad(poisson=0.5), gap, pitch, depth=0.3 * MM, shift=(0.05 * MM, 0.0), coupled=c) for c in (False, True))
    np.testing.assert_allclose(b.pressure, a.pressure, atol=5e-3 * a.pressure.max())
    np.testing.assert_allclose(b.shear, a.shear, atol=0.02 * a.shear.max())


# ---- relaxation ---------------------------------------------------------------------------------------------------------------

SERIES = ((0.3, 0.5), (0.2, 5.0))


def left(t):
    return 1 - sum(share * (1 - np.exp(-t / tau)) for share, tau in SERIES)


@pytest.mark.parametrize("dt", [0.05, 1.0])
def test_a_relaxing_gel_loses_force_at_a_held_depth_as_its_series_says(dt):
    gel, gap, pitch = pad(2 * MM, relaxation=SERIES), ball(40, 0.2 * MM, 6 * MM), (0.2 * MM, 0.2 * MM)
    state = press(gel, gap, pitch, depth=0.3 * MM)
    first = normal_force(state)
    np.testing.assert_allclose(first, normal_force(press(pad(2 * MM), gap, pitch, depth=0.3 * MM)), rtol=1e-9)
    for i in range(1, 8):
        state = press(gel, gap, pitch, depth=0.3 * MM, before=state, dt=dt)
        np.testing.assert_allclose(normal_force(state), first * left(i * dt), rtol=5e-3)


def test_a_relaxing_gel_creeps_under_a_held_force_to_the_depth_of_its_last_modulus():
    gel, gap, pitch = pad(2 * MM, relaxation=SERIES), ball(50, 0.2 * MM, 6 * MM), (0.2 * MM, 0.2 * MM)
    state, depths = None, []
    for _ in range(12):
        state = press(gel, gap, pitch, force=0.4, before=state, dt=4.0)
        depths.append(float(state.approach))
    assert (np.diff(depths) > 0).all()
    slow = Pad(width=0.1, height=0.1, thickness=2 * MM, young=YOUNG * 0.5, poisson=0.48)
    np.testing.assert_allclose(depths[-1], press(slow, gap, pitch, force=0.4).approach, rtol=0.01)


def test_a_relaxing_gel_keeps_a_dent_after_the_object_left_and_recovers():
    gel, gap, pitch = pad(2 * MM, relaxation=SERIES), ball(40, 0.2 * MM, 6 * MM), (0.2 * MM, 0.2 * MM)
    state = press(gel, gap, pitch, depth=0.3 * MM)
    state = press(gel, gap, pitch, depth=0.3 * MM, before=state, dt=10.0)
    dents = []
    for dt in (0.01, 2.0, 10.0, 60.0):
        state = press(gel, gap, pitch, depth=0.0, before=state, dt=dt)
        assert not state.pressure.any()
        dents.append(float(state.sunk.max()))
    assert 0.05 * MM < dents[0] < 0.3 * MM
    assert (np.diff(dents) < 0).all()
    assert dents[-1] < 0.01 * dents[0]


def test_shear_relaxes_with_pressure():
    gel, gap, pitch = pad(2 * MM, relaxation=SERIES), ball(40, 0.2 * MM, 6 * MM), (0.2 * MM, 0.2 * MM)
    state = press(gel, gap, pitch, depth=0.3 * MM, shift=(0.02 * MM, 0.0))
    later = press(gel, gap, pitch, depth=0.3 * MM, before=state, dt=1.0)
    np.testing.assert_allclose(later.force, state.force * left(1.0), rtol=0.01, atol=1e-4)
