import numpy as np
import pytest

from palpate.core.errors import RecordError
from palpate.sensors.touch.contact import Pad, cell_centres
from palpate.sensors.touch.flat import press
from palpate.sensors.touch.flat_convolve import Compliance, influence
from palpate.sensors.touch.flat_normal import solve_depth, solve_force
from palpate.sensors.touch.layer import table, transfer
from touch_reference import MM, YOUNG, ball, grid, layer_wave, normal_force, pad, pressed_layer

# ---- the layer's answer -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("poisson", [0.0, 0.3, 0.45, 0.49])
@pytest.mark.parametrize("k", [0.05, 0.7, 2.0, 6.0])
def test_waves_move_a_layer_as_a_direct_solution_of_the_layer_problem_says(poisson, k):
    normal, along, across, coupling = (float(v) for v in transfer(np.array(k), 1.0, poisson))
    reference = layer_wave(k, 1.0, poisson)
    np.testing.assert_allclose([[along, 1j * coupling], [-1j * coupling, normal]], reference, rtol=1e-9, atol=1e-9 * along)
    np.testing.assert_allclose(across, 2 * (1 + poisson) * np.tanh(k) / k, rtol=1e-12)


def test_an_incompressible_layer_does_not_give_to_even_pressure_but_shears():
    normal, along, across, coupling = transfer(np.array([0.0, 1e-3]), 2.0, 0.5)
    np.testing.assert_allclose(normal, 0, atol=1e-5)
    np.testing.assert_allclose(along, 2 * 3.0, rtol=1e-5)
    np.testing.assert_allclose(across, 2 * 3.0, rtol=1e-5)
    np.testing.assert_allclose(coupling, [0.0, -1.5 * 1e-3 * 2.0**2], rtol=1e-4)


def test_a_compressible_layer_gives_to_even_pressure_by_its_confined_modulus():
    nu, h = 0.3, 2.0
    np.testing.assert_allclose(transfer(np.array(0.0), h, nu)[0], h * (1 + nu) * (1 - 2 * nu) / (1 - nu), rtol=1e-12)


def test_a_far_cell_of_a_half_space_answers_as_boussinesq_and_cerruti_say():
    nu, pitch = 0.3, (1.0, 1.2)
    influence = table(np.inf, nu, pitch, (40, 40))
    y, x = 30 * pitch[0], 35 * pitch[1]
    r, area, shear = np.hypot(x, y), pitch[0] * pitch[1], 1 / (2 * (1 + nu))
    point = {
        "zz": (1 - nu) / r,
        "xx": (1 - nu) / r + nu * x * x / r**3,
        "yy": (1 - nu) / r + nu * y * y / r**3,
        "xy": nu * x * y / r**3,
        "xz": -(1 - 2 * nu) / 2 * x / r**2,
        "yz": -(1 - 2 * nu) / 2 * y / r**2,
    }
    for name, value in point.items():
        np.testing.assert_allclose(
            getattr(influence, name)[30, 35], value * area / (2 * np.pi * shear), rtol=1e-3, err_msg=name
        )


@pytest.mark.parametrize("poisson", [0.2, 0.5])
def test_cells_of_a_layer_answer_as_the_sum_over_its_waves(poisson):
    h, pitch, n, fold = 2.0, (0.4, 0.5), 96, 8
    influence = table(h, poisson, pitch, (24, 24))
    total = {name: np.zeros((n, n), complex) for name in ("zz", "xx", "yy", "xy", "xz", "yz")}
    base = [2 * np.pi * np.fft.fftfreq(n, p) for p in pitch]
    for a in range(-fold, fold + 1):
        for b in range(-fold, fold + 1):
            ky, kx = base[0][:, None] + 2 * np.pi * a / pitch[0], base[1][None, :] + 2 * np.pi * b / pitch[1]
            k = np.hypot(ky, kx)
            normal, along, across, coupling = transfer(k, h, poisson)
            ey, ex = ky / np.maximum(k, 1e-9), kx / np.maximum(k, 1e-9)
            cell = np.sinc(ky * pitch[0] / 2 / np.pi) * np.sinc(kx * pitch[1] / 2 / np.pi)
            total["zz"] += cell * normal
            total["xx"] += cell * (along * ex * ex + across * ey * ey)
            total["yy"] += cell * (along * ey * ey + across * ex * ex)
            total["xy"] += cell * (along - across) * ex * ey
            total["xz"] += cell * 1j * coupling * ex
            total["yz"] += cell * 1j * coupling * ey
    for name, waves in total.items():
        want = np.fft.ifft2(waves).real[:24, :24]
        got = getattr(influence, name)
        # What is left is the sum over waves, cut off at `fold`.
        np.testing.assert_allclose(got, want, atol=4e-3 * np.abs(want).max(), err_msg=name)


# ---- pressure against theory --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("poisson", [0.3, 0.5])
def test_a_sphere_on_a_half_space_presses_as_hertz_says(poisson):
    radius, depth, pitch = 8 * MM, 0.3 * MM, 0.1 * MM
    got = press(pad(poisson=poisson), ball(61, pitch, radius), (pitch, pitch), depth=depth)
    stiffness = YOUNG / (1 - poisson**2)
    force, contact = 4 / 3 * stiffness * np.sqrt(radius) * depth**1.5, np.sqrt(radius * depth)
    np.testing.assert_allclose(normal_force(got), force, rtol=0.01)
    np.testing.assert_allclose(got.contact_radius, contact, atol=pitch)
    np.testing.assert_allclose(got.pressure.max(), 2 * stiffness * np.sqrt(depth / radius) / np.pi, rtol=0.01)
    np.testing.assert_allclose(got.sunk[30, 30], depth, rtol=1e-3)
    # Beside the contact the surface sinks as Johnson 1985, Eq. 3.42a says.
    r = 2.5 * MM
    beside = (1 / (np.pi * radius)) * (
        (2 * contact**2 - r**2) * np.arcsin(contact / r) + r * contact * np.sqrt(1 - (contact / r) ** 2)
    )
    np.testing.assert_allclose(got.sunk[30, 55], beside, rtol=0.01)
    # Poisson's pull: a Hertz pressure outside its circle pulls as a point force does.
    pull = (1 - 2 * poisson) * (1 + poisson) / (2 * np.pi * YOUNG) * force / r
    np.testing.assert_allclose(got.drift[30, 55], [-pull, 0], atol=0.01 * pull + 1e-9 * MM)


def test_a_force_finds_the_depth_that_hertz_gives():
    radius, pitch, stiffness = 8 * MM, 0.1 * MM, YOUNG / (1 - 0.48**2)
    force = np.array([0.02, 0.1, 0.3])
    got = press(pad(), np.stack([ball(71, pitch, radius)] * 3), (pitch, pitch), force=force)
    np.testing.assert_allclose(got.approach, (0.75 * force / stiffness / np.sqrt(radius)) ** (2 / 3), rtol=0.01)
    np.testing.assert_allclose(got.force[:, 2], force, rtol=1e-6)


def test_a_long_cylinder_on_a_half_space_makes_the_line_contact_of_hertz():
    radius, pitch, stiffness = 6 * MM, (0.1 * MM, 0.5 * MM), YOUNG / (1 - 0.48**2)
    y, _ = cell_centres((61, 160), pitch)
    got = press(pad(), np.repeat(y**2 / (2 * radius), 160, axis=1), pitch, depth=0.3 * MM)
    middle = got.pressure[:, 80]
    line = middle.sum() * pitch[0]
    half = np.sqrt(4 * line * radius / (np.pi * stiffness))
    np.testing.assert_allclose(middle.max(), np.sqrt(line * stiffness / (np.pi * radius)), rtol=0.01)
    np.testing.assert_allclose((middle > 0).sum() * pitch[0] / 2, half, atol=pitch[0])


def test_a_flat_punch_on_a_half_space_carries_force_in_proportion_to_depth():
    pitch, cells = 0.1 * MM, 81
    y, x = grid(cells, pitch)
    inside = np.hypot(x, y) < 3 * MM
    radius = np.sqrt(inside.sum() / np.pi) * pitch
    gap = np.where(inside, 0.0, 5 * MM)
    got = press(pad(), np.stack([gap, gap]), (pitch, pitch), depth=np.array([0.1, 0.2]) * MM)
    np.testing.assert_allclose(got.force[0, 2], 2 * YOUNG / (1 - 0.48**2) * radius * 0.1 * MM, rtol=0.01)
    np.testing.assert_allclose(got.force[1, 2], 2 * got.force[0, 2], rtol=1e-4)
    np.testing.assert_array_equal(got.pressure[0] > 0, inside)


def test_a_thin_compressible_layer_answers_place_by_place():
    nu, h, radius, depth, pitch = 0.2, 0.3 * MM, 40 * MM, 0.1 * MM, 0.1 * MM
    got = press(pad(h, nu), ball(81, pitch, radius), (pitch, pitch), depth=depth)
    confined = YOUNG * (1 - nu) / ((1 + nu) * (1 - 2 * nu))
    np.testing.assert_allclose(normal_force(got), np.pi * radius * depth**2 * confined / h, rtol=0.05)
    np.testing.assert_allclose(got.pressure.max(), confined * depth / h, rtol=0.01)


@pytest.mark.parametrize(
    ("thickness", "poisson", "depth"), [(2, 0.3, 0.5), (2, 0.48, 0.2), (2, 0.48, 0.5), (4, 0.48, 0.5), (2, 0.495, 0.5)]
)
def test_a_bonded_layer_answers_as_finite_elements_say(thickness, poisson, depth):
    radius, pitch, h, d = 6 * MM, 0.12 * MM, thickness * MM, depth * MM
    force, r, out, into = pressed_layer(h, YOUNG, poisson, radius, d, spacing=np.sqrt(radius * d) / 15)
    got = press(pad(h, poisson), ball(101, pitch, radius), (pitch, pitch), depth=d)
    np.testing.assert_allclose(normal_force(got), force, rtol=0.01)
    x = np.arange(51) * pitch
    np.testing.assert_allclose(got.sunk[50, 50:], np.interp(x, r, into), atol=0.01 * d)
    np.testing.assert_allclose(got.drift[50, 50:, 0], np.interp(x, r, out), atol=0.03 * np.abs(out).max())
    np.testing.assert_allclose(got.drift[50:, 50, 1], np.interp(x, r, out), atol=0.03 * np.abs(out).max())


@pytest.mark.parametrize("thickness", [2 * MM, 4 * MM, np.inf])
def test_known_loads_come_back_from_the_pressure_and_their_depth_brings_them_again(thickness):
    stiff = Pad(width=0.019, height=0.016, thickness=thickness, young=0.6e6, poisson=0.48)
    pitch = (16 * MM / 60, 19 * MM / 80)
    y, x = cell_centres((60, 80), pitch)
    force = np.array([0.1, 0.3, 1.0, 3.0, 10.0])
    gap = np.broadcast_to((x**2 + y**2) / (2 * 12 * MM), (5, 60, 80)).astype(np.float32)
    got = press(stiff, gap, pitch, force=force)
    np.testing.assert_allclose(got.force[:, 2], force, rtol=1e-4)
    again = press(stiff, gap, pitch, depth=got.approach)
    np.testing.assert_allclose(again.force[:, 2], force, rtol=0.005)


def test_a_force_that_does_not_settle_is_found_through_the_depth():
    pitch = 0.2 * MM
    gap = ball(40, pitch, 5 * MM) + 0.05 * MM * np.cos(grid(40, pitch)[1] / (0.4 * MM)) ** 2
    body = Compliance(((influence(2 * MM, 0.48, (pitch, pitch), (40, 40)), 1 / YOUNG),))
    answer = body.normal((40, 40), np.dtype(float))
    start, total = np.maximum(0.1 * MM - gap, 0), 0.4 / pitch**2
    settled = solve_force(answer, gap, total, start, tolerance=3e-4)
    other = solve_force(answer, gap, total, start, tolerance=3e-4, limit=1)
    np.testing.assert_allclose(other.approach, settled.approach, rtol=1e-3)
    np.testing.assert_allclose(other.pressure.sum(), total, rtol=1e-9)
    np.testing.assert_allclose(other.pressure, settled.pressure, atol=5e-3 * settled.pressure.max())


def test_nothing_overlaps_and_nothing_pulls():
    rng = np.random.default_rng(3)
    gap = np.cumsum(np.cumsum(rng.normal(size=(40, 50)), 0), 1)
    gap = (gap - gap.min()) * 0.6 * MM / np.ptp(gap)
    got = press(pad(2 * MM), gap, (0.2 * MM, 0.2 * MM), depth=0.25 * MM)
    rest = got.sunk + gap - 0.25 * MM
    assert (got.pressure >= 0).all()
    assert rest.min() > -2e-3 * 0.25 * MM
    np.testing.assert_allclose(rest[got.pressure > 0], 0, atol=2e-3 * 0.25 * MM)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_guess_of_a_single_cell_leads_to_the_same_contact(kind):
    pitch = 0.2 * MM
    gap = ball(40, pitch, 5 * MM).astype(kind)
    answer = Compliance(((influence(2 * MM, 0.48, (pitch, pitch), (40, 40)), 1 / YOUNG),)).normal((40, 40), np.dtype(kind))
    depth = 0.4 * MM
    whole, single = np.maximum(depth - gap, 0), np.zeros_like(gap)
    single[np.unravel_index(gap.argmin(), gap.shape)] = 3.0
    by_depth = [solve_depth(answer, gap, depth, start, tolerance=1e-4).pressure for start in (whole, single)]
    by_force = [solve_force(answer, gap, float(by_depth[0].sum()), start, tolerance=1e-4).pressure for start in (whole, single)]
    for found in (by_depth[1], *by_force):
        np.testing.assert_allclose(found, by_depth[0], atol=5e-3 * by_depth[0].max())


def test_a_deep_press_after_a_first_touch_is_the_deep_press():
    gap = ball(60, 0.2 * MM, 5 * MM, 0.04 * MM, 0.07 * MM).astype(np.float32)
    touched = press(pad(2 * MM), gap, (0.2 * MM, 0.2 * MM), depth=1e-5)
    deep, fresh = (press(pad(2 * MM), gap, (0.2 * MM, 0.2 * MM), depth=4e-4, before=before) for before in (touched, None))
    np.testing.assert_allclose(normal_force(deep), normal_force(fresh), rtol=2e-3)


# ---- laws ---------------------------------------------------------------------------------------------------------------------


def test_two_far_punches_on_a_layer_press_as_the_sum_of_both():
    y, x = grid(80, 0.2 * MM)
    near = [np.where(np.hypot(x - c, y) < 1 * MM, 0.0, 1 * MM) for c in (-6 * MM, 6 * MM)]
    both = np.minimum(*near)
    one, two, sum_ = (press(pad(0.8 * MM), gap, (0.2 * MM, 0.2 * MM), depth=0.1 * MM) for gap in (*near, both))
    for name in ("pressure", "sunk", "drift"):
        whole = getattr(one, name) + getattr(two, name)
        np.testing.assert_allclose(getattr(sum_, name), whole, atol=2e-3 * np.abs(whole).max(), err_msg=name)


def sheared(gap, shift, twist=0.0, coupled=False):
    return press(pad(2 * MM), gap, (0.2 * MM, 0.2 * MM), depth=0.3 * MM, shift=shift, twist=twist, coupled=coupled)


@pytest.mark.parametrize("coupled", [False, True])
def test_the_mirror_image_of_a_press_is_the_press_of_the_mirror_image(coupled):
    gap = ball(48, 0.2 * MM, 6 * MM, 0.7 * MM, -0.5 * MM) + 0.02 * ball(48, 0.2 * MM, 1 * MM, -2 * MM)
    here = sheared(gap, (0.03 * MM, 0.01 * MM), 0.02, coupled)
    there = sheared(gap[:, ::-1], (-0.03 * MM, 0.01 * MM), -0.02, coupled)
    sign = np.array([-1, 1])
    for name in ("shear", "drift"):
        want = getattr(here, name)
        np.testing.assert_allclose(getattr(there, name)[:, ::-1] * sign, want, atol=1e-5 * np.abs(want).max(), err_msg=name)
    np.testing.assert_allclose(there.sunk[:, ::-1], here.sunk, atol=1e-9 * MM)


@pytest.mark.parametrize("coupled", [False, True])
def test_a_quarter_turn_of_everything_turns_the_answer(coupled):
    gap = ball(48, 0.2 * MM, 6 * MM, 0.7 * MM, -0.5 * MM)
    here = sheared(gap, (0.03 * MM, 0.01 * MM), 0.02, coupled)
    # numpy's turn is from columns to rows against the clock: x goes to -y.
    there = sheared(np.rot90(gap), (0.01 * MM, -0.03 * MM), 0.02, coupled)
    for name in ("shear", "drift"):
        want = np.rot90(getattr(here, name))
        want = np.stack([want[..., 1], -want[..., 0]], axis=-1)
        np.testing.assert_allclose(getattr(there, name), want, atol=1e-5 * np.abs(want).max(), err_msg=name)
    np.testing.assert_allclose(there.pressure, np.rot90(here.pressure), atol=1e-5 * here.pressure.max())


def test_a_batch_equals_its_items():
    gaps = np.stack([ball(40, 0.25 * MM, r, x0) for r, x0 in ((3 * MM, 0), (5 * MM, 1 * MM), (8 * MM, -1 * MM), (4 * MM, 0))])
    gaps = gaps.reshape(2, 2, 40, 40)
    force = np.array([[0.1, 0.5], [0.0, 1.0]])
    shift = np.array([[[1, 0], [0, 2]], [[1, 1], [3, -1]]]) * 0.02 * MM
    twist = np.array([[0.01, 0.0], [0.1, -0.05]])
    whole = press(pad(2 * MM), gaps, (0.25 * MM, 0.25 * MM), force=force, shift=shift, twist=twist)
    assert whole.force.shape == (2, 2, 3)
    for i in np.ndindex(2, 2):
        one = press(pad(2 * MM), gaps[i], (0.25 * MM, 0.25 * MM), force=force[i], shift=shift[i], twist=twist[i])
        for name in ("pressure", "shear", "sunk", "drift", "approach"):
            np.testing.assert_array_equal(getattr(whole, name)[i], getattr(one, name), err_msg=name)


def test_single_precision_answers_as_double_does():
    gap = ball(60, 0.2 * MM, 6 * MM, 0.3 * MM)
    a, b = sheared(gap, (0.03 * MM, 0.0)), sheared(gap.astype(np.float32), (0.03 * MM, 0.0))
    assert b.pressure.dtype == np.float32
    for name in ("pressure", "shear", "sunk", "drift"):
        np.testing.assert_allclose(getattr(b, name), getattr(a, name), atol=0.01 * np.abs(getattr(a, name)).max(), err_msg=name)
    np.testing.assert_allclose(b.force, a.force, rtol=2e-3, atol=1e-4 * a.force[2])


@pytest.mark.parametrize("load", [{"depth": 0.0}, {"depth": -1 * MM}, {"force": 0.0}])
def test_no_contact_is_exactly_zero(load):
    got = press(pad(2 * MM), ball(20, 0.2 * MM, 5 * MM), (0.2 * MM, 0.2 * MM), shift=(1 * MM, 0.0), **load)
    for name in ("pressure", "shear", "sunk", "drift", "approach", "force", "torque"):
        assert not np.any(getattr(got, name)), name


def test_a_soft_object_presses_as_the_joint_compliance_says_and_shares_the_dent():
    radius, pitch, nu, soft = 8 * MM, 0.1 * MM, 0.48, 0.1e6
    got = press(pad(), ball(61, pitch, radius), (pitch, pitch), depth=0.3 * MM, object_young=soft, object_poisson=0.4)
    gel, other = (1 - nu**2) / YOUNG, (1 - 0.4**2) / soft
    np.testing.assert_allclose(normal_force(got), 4 / 3 / (gel + other) * np.sqrt(radius) * (0.3 * MM) ** 1.5, rtol=0.01)
    np.testing.assert_allclose(got.sunk[30, 30], 0.3 * MM * gel / (gel + other), rtol=0.005)
    hard = press(pad(), ball(61, pitch, radius), (pitch, pitch), force=normal_force(got))
    assert got.contact_radius > 1.2 * hard.contact_radius


# ---- bad input ----------------------------------------------------------------------------------------------------------------


def spoiled(value):
    gap = ball(20, 0.2 * MM, 5 * MM)
    gap[3, 4] = value
    return gap


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": None}, "exactly one"),
        ({"force": 1.0}, "exactly one"),
        ({"depth": 3 * MM}, "more than the gel's thickness"),
        ({"depth": np.nan}, "finite"),
        ({"depth": [0.1, 0.2]}, "leading axes"),
        ({"depth": None, "force": -1.0}, "does not pull"),
        ({"depth": None, "force": 1e4}, "stiffer gel"),
        ({"gap": spoiled(np.nan)}, "NaN or infinite"),
        ({"gap": spoiled(np.inf)}, "NaN or infinite"),
        ({"gap": np.zeros(5)}, "at least 2 x 2"),
        ({"gap": np.full((20, 20), 1.0)}, "outside the pad"),
        ({"pitch": (0.0, 1e-4)}, "positive lengths"),
        ({"pitch": (1e-4, -1e-4)}, "positive lengths"),
        ({"pad": {"young": 0.0}}, "pad.young"),
        ({"pad": {"poisson": 0.51}}, "pad.poisson"),
        ({"pad": {"poisson": -1.0}}, "pad.poisson"),
        ({"pad": {"thickness": 0.0}}, "pad.thickness"),
        ({"pad": {"friction": -0.1}}, "pad.friction"),
        ({"pad": {"relaxation": ((0.7, 1.0), (0.4, 2.0))}}, "below 1"),
        ({"pad": {"relaxation": ((0.2, 0.0),)}}, "positive"),
        ({"object_young": 0.0}, "object_young"),
        ({"shift": (np.nan, 0.0)}, "shift must be finite"),
        ({"dt": -1.0}, "dt must be"),
    ],
)
def test_what_cannot_be_is_refused_with_a_way_out(changes, message):
    given = {"gap": ball(20, 0.2 * MM, 5 * MM), "pitch": (0.2 * MM, 0.2 * MM), "depth": 0.1 * MM, **changes}
    constants = {"width": 0.1, "height": 0.1, "thickness": 2 * MM, "young": YOUNG, "poisson": 0.48, **given.pop("pad", {})}
    with pytest.raises(RecordError, match=message):
        press(Pad(**constants), given.pop("gap"), given.pop("pitch"), **given)


def test_a_state_of_another_grid_or_a_missing_time_is_refused():
    gap, pitch = ball(20, 0.2 * MM, 5 * MM), (0.2 * MM, 0.2 * MM)
    state = press(pad(2 * MM), gap, pitch, depth=0.1 * MM)
    with pytest.raises(RecordError, match="same grid"):
        press(pad(2 * MM), gap[1:], pitch, depth=0.1 * MM, before=state)
    with pytest.raises(RecordError, match="give dt"):
        press(pad(2 * MM, relaxation=((0.3, 1.0),)), gap, pitch, depth=0.1 * MM, before=state)


def test_what_lies_beyond_the_pads_edge_is_never_touched():
    small = Pad(width=2 * MM, height=3 * MM, thickness=2 * MM, young=YOUNG, poisson=0.48)
    y, x = grid(30, 0.2 * MM)
    got = press(small, np.zeros((30, 30)), (0.2 * MM, 0.2 * MM), depth=0.1 * MM)
    assert (got.pressure[(abs(x) > 1 * MM) | (abs(y) > 1.5 * MM)] == 0).all()
    assert got.pressure[15, 15] > 0
    beside = np.where(x < 2 * MM, 1.0, 0.0) + 0 * y
    with pytest.raises(RecordError, match="outside the pad"):
        press(small, beside, (0.2 * MM, 0.2 * MM), depth=0.1 * MM)
