"""Friction-use quality: hand-computed grasps, other solvers, and what must hold for every grasp."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from palpate.core.contacts import GraspContacts
from palpate.core.errors import MissingPackageError, RecordError, UnknownNameError
from palpate.core.transforms import rotation_from_vector
from palpate.quality import friction
from palpate.quality.friction import grasp_qualities, grasp_quality
from palpate.quality.samples import random_grasp

RADIUS = 0.03


def ring(degrees, mu=0.5, torsion=0.05, wrench=(0, 0, -0.15, 0, 0, 0), tilt=0.0, fingers=None):
    """Contacts on a horizontal ring, normals inward, turned by `tilt` about the vertical in turn one way and the other."""
    at = np.radians(degrees)
    inward = at + np.pi + tilt * (-1.0) ** np.arange(len(at))
    return GraspContacts(
        positions=RADIUS * np.c_[np.cos(at), np.sin(at), 0 * at],
        normals=np.c_[np.cos(inward), np.sin(inward), 0 * at],
        friction=np.full(len(at), mu),
        torsion_radius=np.full(len(at), torsion * RADIUS),
        object_radius=RADIUS,
        external_wrench=np.array(wrench, float),
        fingers=fingers,
    )


@pytest.fixture(scope="module")
def rng():
    return np.random.default_rng(11)


@pytest.fixture(scope="module")
def grasps(rng):
    """240 grasps of 2-5 fingers, half of them with point contacts."""
    return [random_grasp(rng, 2 + i % 4, torsion=(0.0, 0.05)[i // 4 % 2]) for i in range(240)]


@pytest.fixture(scope="module")
def judged(grasps):
    return grasp_qualities(grasps)


def values(qualities):
    return np.array([q.q for q in qualities]), np.array([q.friction_use for q in qualities])


def wild(rng):
    """Up to 16 contacts anywhere, of any sizes, with or without a wrench; few can be balanced."""
    n = int(rng.integers(1, 17))
    places, normals = rng.normal(size=(n, 3)), rng.normal(size=(n, 3))
    if rng.random() < 0.5:
        normals = -places + 0.2 * normals
    if rng.random() < 0.3:
        places[1:] = places[0] + 1e-5 * places[1:]
    radius = 10.0 ** rng.integers(-3, 2)
    return GraspContacts(
        positions=radius * places,
        normals=normals / np.linalg.norm(normals, axis=1, keepdims=True),
        friction=10 ** rng.uniform(-2, 0.5, n),
        torsion_radius=radius * np.where(rng.random(n) < 0.3, 0.0, 10 ** rng.uniform(-3, -0.5, n)),
        object_radius=radius,
        external_wrench=None if rng.random() < 0.3 else rng.normal(size=6) * 10.0 ** rng.integers(-6, 1),
    )


@pytest.mark.parametrize("solver", ["exact", "clarabel"])
@pytest.mark.parametrize("degrees", [(0, 180), (0, 120, 240)])
def test_a_weight_of_15_percent_uses_30_percent_of_a_friction_of_one_half(degrees, solver):
    quality = grasp_quality(ring(degrees), solver)
    np.testing.assert_allclose(quality.friction_use, 0.15 / 0.5, atol=1e-5)
    np.testing.assert_allclose(quality.q, np.exp(-0.3), atol=1e-5)
    assert quality.residual < 1e-6
    assert quality.success and quality.status == "solved"


def test_two_contacts_20_degrees_off_opposite_have_torsion_too_weak_for_the_weight():
    quality = grasp_quality(ring((0, 160)))
    np.testing.assert_allclose([quality.friction_use, quality.residual, quality.q], [1.0, 4.15e-3, 0.243], rtol=2e-3)
    assert not quality.success


@pytest.mark.parametrize("tilt", [0.1, 0.3])
def test_tilted_normals_use_the_tangent_of_the_tilt_over_friction(tilt):
    quality = grasp_quality(ring((0, 180), tilt=tilt, wrench=(0, 0, 0, 0, 0, 0)))
    np.testing.assert_allclose(quality.friction_use, np.tan(tilt) / 0.5, atol=1e-5)
    np.testing.assert_allclose(quality.residual, 0.0, atol=1e-6)


def test_a_moment_about_the_pinch_is_carried_by_torsion():
    quality = grasp_quality(ring((0, 180), torsion=0.05, wrench=(0, 0, 0, 0.01, 0, 0)))
    np.testing.assert_allclose(quality.friction_use, 0.01 / (0.5 * 0.05), atol=1e-5)
    np.testing.assert_allclose(quality.torsion, [0.005 * RADIUS, -0.005 * RADIUS], atol=1e-9)
    lost = grasp_quality(ring((0, 180), torsion=0.0, wrench=(0, 0, 0, 0.01, 0, 0)))
    np.testing.assert_allclose(lost.residual, 0.01, atol=1e-6)


def test_no_answer_is_farther_than_its_gap_and_no_gap_is_large(judged):
    gaps = np.array([q.gap for q in judged])
    assert {q.status for q in judged} == {"solved"}
    assert gaps.min() > -1e-9
    assert gaps.max() < 1e-6


def test_the_exact_solver_agrees_with_clarabel(grasps, judged):
    for exact, other in zip(values(judged), values(grasp_qualities(grasps, "clarabel")), strict=True):
        np.testing.assert_allclose(exact, other, atol=1e-3)
    assert 0.2 < np.mean([q.success for q in judged]) < 0.8


def test_wild_contacts_are_solved_or_say_that_clarabel_was_asked(rng):
    many = [wild(rng) for _ in range(300)]
    exact, other = grasp_qualities(many), grasp_qualities(many, "clarabel")
    assert {q.status.split(":")[0] for q in exact} <= {"solved", "clarabel"}
    assert np.mean([q.status == "solved" for q in exact]) > 0.99
    sure = [i for i in range(len(many)) if other[i].status == "solved"]
    assert len(sure) > 250
    np.testing.assert_allclose([exact[i].q for i in sure], [other[i].q for i in sure], atol=1e-3)


def test_it_agrees_with_ipopt_where_that_converges(grasps, judged):
    pytest.importorskip("casadi", reason="casadi carries IPOPT; install palpate[ipopt]")
    other = grasp_qualities(grasps[:20], "ipopt")
    done = [i for i in range(20) if other[i].status == "solved"]
    assert len(done) >= 15
    np.testing.assert_allclose([judged[i].q for i in done], [other[i].q for i in done], atol=5e-3)


def test_forces_balance_the_wrench_and_stay_within_friction(grasps, judged):
    for contacts, quality in zip(grasps, judged, strict=True):
        normal = np.sum(quality.forces * contacts.normals, axis=1)
        across = np.linalg.norm(quality.forces - normal[:, None] * contacts.normals, axis=1)
        torsion = np.divide(
            quality.torsion, contacts.torsion_radius, out=np.zeros_like(normal), where=contacts.torsion_radius > 0
        )
        use = np.hypot(across, torsion) / contacts.friction
        moments = np.cross(contacts.positions, quality.forces) + quality.torsion[:, None] * contacts.normals
        left = contacts.external_wrench + np.r_[quality.forces.sum(axis=0), moments.sum(axis=0) / contacts.object_radius]
        np.testing.assert_allclose(normal.sum(), 1.0, atol=1e-9)
        assert (use <= normal + 1e-9).all()
        np.testing.assert_allclose(use.sum(), quality.friction_use, atol=1e-9)
        np.testing.assert_allclose(np.linalg.norm(left), quality.residual, atol=1e-9)


def test_more_friction_never_lowers_quality(grasps, judged):
    rougher = grasp_qualities([replace(g, friction=1.3 * g.friction) for g in grasps])
    gain = values(rougher)[0] - values(judged)[0]
    assert gain.min() > -1e-6
    assert gain.max() > 0.05


def test_one_more_contact_never_lowers_quality(grasps, judged, rng):
    def joined(a, b):
        parts = ("positions", "normals", "friction", "torsion_radius")
        return replace(a, **{part: np.concatenate([getattr(a, part), getattr(b, part)[:1]]) for part in parts})

    more = grasp_qualities([joined(g, random_grasp(rng, 2)) for g in grasps])
    assert (values(more)[0] - values(judged)[0]).min() > -1e-6


def test_quality_does_not_depend_on_the_frame_or_the_size(grasps, judged, rng):
    def moved(g):
        turn, size = rotation_from_vector(rng.normal(size=3)), 10 ** rng.uniform(-1, 1)
        return replace(
            g,
            positions=size * g.positions @ turn.T,
            normals=g.normals @ turn.T,
            torsion_radius=size * g.torsion_radius,
            object_radius=size * g.object_radius,
            external_wrench=np.r_[turn @ g.external_wrench[:3], turn @ g.external_wrench[3:]],
        )

    for before, after in zip(values(judged), values(grasp_qualities([moved(g) for g in grasps])), strict=True):
        np.testing.assert_allclose(after, before, atol=1e-5)


def test_threads_and_company_change_nothing(grasps, judged, monkeypatch):
    monkeypatch.setattr(friction, "CHUNK", 7)
    again = grasp_qualities(grasps, workers=2)
    np.testing.assert_allclose(values(again)[0], values(judged)[0], rtol=1e-13)
    np.testing.assert_allclose(
        np.concatenate([q.forces for q in again]), np.concatenate([q.forces for q in judged]), atol=1e-13
    )


def test_a_good_grasp_of_a_single_finger_is_no_success():
    alone = grasp_quality(ring((0, 180), fingers=("th", "th")))
    assert alone.q > 0.7 and not alone.success
    with_palm = grasp_quality(ring((0, 180), fingers=("th", "palm")))
    assert with_palm.q > 0.7 and not with_palm.success


def test_one_contact_or_none_is_judged_and_fails_with_a_stated_residual():
    one, nothing, two = grasp_qualities([ring((0,)), ring(()), ring((0, 180))])
    assert one.q < 1e-30 and one.residual > 0.9 and not one.success
    assert (nothing.q, nothing.residual, nothing.success, nothing.status) == (0.0, np.inf, False, "no contact")
    assert two.success
    assert grasp_qualities([]) == []


def test_a_contact_that_friction_cannot_help_is_solved_to_its_whole_force():
    quality = grasp_quality(replace(ring((0,)), positions=np.array([[1e-5, 0, 0]]), external_wrench=None))
    np.testing.assert_allclose([quality.friction_use, quality.residual], [0.0, 1.0], atol=1e-6)
    assert quality.status == "solved"


def test_a_grasp_that_is_not_certified_goes_to_clarabel_and_says_so(monkeypatch):
    monkeypatch.setattr(friction, "CERTIFIED", -1.0)
    quality = grasp_quality(ring((0, 180)))
    assert quality.status.startswith("clarabel: Solved; the exact solver left a gap of")
    np.testing.assert_allclose(quality.q, np.exp(-0.3), atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"friction": np.array([0.5, 0.0])},
        {"friction": np.array([0.5, np.nan])},
        {"positions": np.full((2, 3), np.inf)},
        {"normals": np.array([[2.0, 0, 0], [-2.0, 0, 0]])},
        {"torsion_radius": np.array([-0.001, 0.0])},
        {"object_radius": 0.0},
        {"external_wrench": np.full(6, np.nan)},
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
def test_numbers_that_mean_nothing_are_refused(change):
    with pytest.raises(RecordError, match="cannot be judged"):
        grasp_qualities([ring((0, 180)), replace(ring((0, 180)), **change)])


def test_an_unknown_solver_and_a_missing_package_are_named(monkeypatch):
    with pytest.raises(UnknownNameError, match="clarabel, exact, ipopt"):
        grasp_quality(ring((0, 180)), "simplex")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install 'palpate\[ipopt\]'"):
        grasp_quality(ring((0, 180)), "ipopt")
