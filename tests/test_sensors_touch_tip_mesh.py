"""The skin's mesh, its condensed compliance against a sparse solver, and the cache that keeps it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse.linalg as spla

from palpate.sensors.touch import tip_mesh
from palpate.sensors.touch.tip import SoftTip
from palpate.sensors.touch.tip_mesh import BIOTAC_SP, HEMISPHERE, assemble, condense, skin_mesh, surface_of

DOME = replace(HEMISPHERE, skin=4e-3, cells=(7, 7, 7, 2))
FINGER = replace(BIOTAC_SP, cells=(8, 8, 11, 2))


@pytest.mark.parametrize("shape", [BIOTAC_SP, HEMISPHERE, FINGER, DOME])
def test_no_tetrahedron_is_inside_out_and_the_skin_has_the_volume_of_a_shell(shape):
    _, mesh = skin_mesh(shape)
    corners = mesh.p.T[mesh.t]
    volumes = np.abs(np.linalg.det((corners[1:] - corners[0]).transpose(1, 0, 2))) / 6
    assert volumes.min() > 0
    area = surface_of(shape).areas.sum()
    assert 0.3 * area * shape.skin < volumes.sum() < area * shape.skin  # a shell is narrower at its core


def test_facets_are_the_loaded_triangles_and_their_normals_point_into_the_tip():
    stiffness, loads, _ = assemble(replace(DOME, cells=(3, 4, 5, 1)))
    surface = surface_of(replace(DOME, cells=(3, 4, 5, 1)))
    np.testing.assert_allclose(np.asarray(loads.sum(axis=0)).ravel(), 1.0, atol=1e-12)  # a unit force per facet and axis
    assert stiffness.shape[0] == loads.shape[0]
    centre = np.array([0, 0, DOME.height])
    outward = surface.points - centre
    cosine = (surface.normals * outward).sum(axis=1) / np.linalg.norm(outward, axis=1)
    assert (cosine < -0.999).all()  # a sphere's normals lie on its radii
    np.testing.assert_allclose(np.linalg.norm(surface.normals, axis=1), 1, atol=1e-12)


def test_nested_dissection_gives_what_a_sparse_solver_gives():
    stiffness, loads, place = assemble(replace(FINGER, cells=(4, 3, 5, 2)))
    direct = loads.T @ spla.splu(stiffness.tocsc()).solve(loads.toarray())
    np.testing.assert_allclose(condense(stiffness, loads, place), direct, atol=1e-9 * np.abs(direct).max(), rtol=0)


def test_the_compliance_is_kept_and_a_damaged_file_is_computed_again(tmp_path, monkeypatch):
    shape = replace(DOME, cells=(2, 2, 2, 1))
    first = SoftTip(shape, tmp_path)
    (file,) = tmp_path.iterdir()
    calls = []
    monkeypatch.setattr(tip_mesh, "condense", lambda *parts: calls.append(1) or condense(*parts))
    again = SoftTip(replace(shape, young=2 * shape.young, friction=0.1), tmp_path)  # the key leaves both out
    np.testing.assert_allclose(again.compliance, first.compliance / 2, rtol=1e-6)
    assert not calls
    whole = file.read_bytes()
    for damage in (b"", whole[: len(whole) // 2], b"rubbish" * 100):
        file.write_bytes(damage)
        np.testing.assert_array_equal(SoftTip(shape, tmp_path).compliance, first.compliance)
    assert len(calls) == 3
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    SoftTip(replace(shape, skin=3e-3), tmp_path)
    assert len(calls) == 4


def test_a_cache_that_cannot_be_written_warns_and_goes_on(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.warns(UserWarning, match="computed again"):
        tip = SoftTip(replace(DOME, cells=(2, 2, 2, 1)), tmp_path / "file")
    assert np.isfinite(tip.compliance).all()


def test_the_cache_follows_the_users_setting(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert tip_mesh.default_cache() == tmp_path / "palpate"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert tip_mesh.default_cache() == Path.home() / ".cache" / "palpate"
