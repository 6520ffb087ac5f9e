r"""Zonal kernels: functions of the cosine between two rows.

Off the sphere a zonal function :math:`f` stands for the homogeneous kernel
:math:`|x||y| f(\cos(x, y))`.
"""

# public names are in __all__, the others are the library's own
from ntksketch.kernels.zonal.base import ZonalKernel
from ntksketch.kernels.zonal.expansions import expansion, short_polynomial  # noqa: F401
from ntksketch.kernels.zonal.exponential import gamma_exponential, laplace
from ntksketch.kernels.zonal.function import FunctionKernel, from_function  # noqa: F401
from ntksketch.kernels.zonal.networks import (  # noqa: F401
    NetworkKernel,
    check_target,
    is_homogeneous,
    is_zonal,
    nngp,
    ntk,
    profile,
    split_input,
    zonal_form,
)
from ntksketch.kernels.zonal.polynomials import (  # noqa: F401
    LegendreSeries,
    Polynomial,
    polynomial,
)

__all__ = [
    "ZonalKernel",
    "from_function",
    "gamma_exponential",
    "laplace",
    "nngp",
    "ntk",
    "polynomial",
]
