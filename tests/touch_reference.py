"""What tests of touch share: pads and balls, and references that share no code with the solver."""

import numpy as np
import skfem as sk
from scipy.sparse.linalg import splu

from palpate.sensors.touch.contact import Pad, cell_centres

YOUNG, MM = 0.2e6, 1e-3


def pad(thickness=np.inf, poisson=0.48, friction=0.6, relaxation=()):
    return Pad(
        width=0.1, height=0.1, thickness=thickness, young=YOUNG, poisson=poisson, friction=friction, relaxation=relaxation
    )


def grid(cells, pitch):
    return cell_centres((cells, cells), (pitch, pitch))


def ball(cells, pitch, radius, x0=0.0, y0=0.0):
    y, x = grid(cells, pitch)
    return ((x - x0) ** 2 + (y - y0) ** 2) / (2 * radius)


def normal_force(contact):
    return float(contact.force[..., 2])


def layer_wave(k, thickness, poisson):
    """Answer of a bonded layer of unit modulus to traction waves: (2, 2) complex, rows and columns along k and into the gel.

    Papkovich-Neuber potentials exp(+-kz) with four unknown factors: traction at the top, no displacement at the base.
    """
    shear = 1 / (2 * (1 + poisson))
    lame = 2 * shear * poisson / (1 - 2 * poisson)
    c = 1 / (4 * (1 - poisson))

    def fields(z):
        """Displacement along k and into the gel, and their slopes over z, of the four potentials."""
        columns = []
        for s in (1, -1):
            e = np.exp(s * k * z)
            columns.append((-1j * k * c * e, -s * k * c * e, -1j * k * s * k * c * e, -k * k * c * e))
            columns.append(
                (
                    -1j * k * z * c * e,
                    e - c * e * (1 + s * k * z),
                    -1j * k * c * e * (1 + s * k * z),
                    s * k * e - c * e * (2 * s * k + k * k * z),
                )
            )
        return np.array(columns).T

    top, base = fields(0.0), fields(thickness)
    along = -shear * (top[2] + 1j * k * top[1])
    into = -2 * shear * top[3] - lame * (1j * k * top[0] + top[3])
    factors = np.linalg.solve(np.array([along, into, base[0], base[1]]), np.eye(4)[:, :2])
    return top[:2] @ factors


def pressed_layer(thickness, young, poisson, radius, depth, spacing):
    """Press a rigid sphere (as a paraboloid, without friction) on a bonded layer by axisymmetric finite elements.

    Quadratic quadrilaterals, one pressure per ring, contact by an active set. Returns the force [N] and, at the top's nodes,
    the distance from the axis, the outward and the inward (into the gel) displacement [m].
    """
    fine = np.arange(0, 1.6 * np.sqrt(2 * radius * depth) + spacing, spacing)
    r = np.r_[fine, fine[-1] + np.cumsum(np.geomspace(spacing, 0.4 * thickness, 40))]
    z = thickness * np.sort(1 - np.linspace(0, 1, 9) ** 1.5)
    mesh = sk.MeshQuad.init_tensor(r[r < 12 * thickness], z)
    element = sk.ElementVector(sk.ElementQuad2())
    basis = sk.Basis(mesh, element, intorder=5)
    lame, shear = young * poisson / (1 + poisson) / (1 - 2 * poisson), young / 2 / (1 + poisson)

    def strains(u, x):
        return u.grad[0, 0], u.grad[1, 1], u[0] / x[0], u.grad[0, 1] + u.grad[1, 0]

    @sk.BilinearForm
    def stiffness(u, v, w):
        a, b = strains(u, w.x), strains(v, w.x)
        volume = lame * sum(a[:3]) * sum(b[:3])
        return 2 * np.pi * w.x[0] * (volume + 2 * shear * (a[0] * b[0] + a[1] * b[1] + a[2] * b[2]) + shear * a[3] * b[3])

    @sk.LinearForm
    def down(v, w):
        return -2 * np.pi * w.x[0] * v[1]

    matrix = stiffness.assemble(basis).tocsc()
    top = mesh.facets_satisfying(lambda x: np.isclose(x[1], thickness), boundaries_only=True)
    ends = np.sort(mesh.p[0, mesh.facets[:, top]], axis=0)
    near = ends[1] <= fine[-1] + 1e-9
    top, ends = top[near], ends[:, near]
    loads = np.array([down.assemble(sk.FacetBasis(mesh, element, facets=np.array([f]), intorder=5)) for f in top]).T
    base = basis.get_dofs(lambda x: np.isclose(x[1], 0)).all()
    axis = basis.get_dofs(lambda x: np.isclose(x[0], 0)).all("u^1")
    free = np.setdiff1d(np.arange(matrix.shape[0]), np.r_[base, axis])
    moved = np.zeros_like(loads)
    moved[free] = splu(matrix[free][:, free].tocsc()).solve(loads[free])
    area = np.pi * (ends[1] ** 2 - ends[0] ** 2)
    answer = loads.T @ moved / area[:, None]
    over = depth - (ends[0] ** 2 + ends[1] ** 2) / (4 * radius)
    pressure, touching, last = np.zeros(len(area)), over > 0, None
    while last is None or (touching != last).any():
        last = touching
        pressure[:] = 0
        pressure[touching] = np.linalg.solve(answer[np.ix_(touching, touching)], over[touching])
        touching = np.where(touching, pressure > 0, answer @ pressure < over - 1e-12)
    nodes = basis.get_dofs(lambda x: np.isclose(x[1], thickness))
    out, into = nodes.all("u^1"), nodes.all("u^2")
    u = moved @ pressure
    order = np.argsort(basis.doflocs[0, out])
    return (pressure * area).sum(), basis.doflocs[0, out][order], u[out][order], -u[into][np.argsort(basis.doflocs[0, into])]
