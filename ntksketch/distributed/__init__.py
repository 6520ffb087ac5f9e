"""The pass over the rows on many devices, and on many machines."""

from ntksketch.distributed.mesh import gather_on_mesh, row_mesh

__all__ = ["gather_on_mesh", "row_mesh"]
