"""The pass over the rows on many devices."""

from ntksketch.distributed.mesh import gather_on_mesh, row_mesh

__all__ = ["gather_on_mesh", "row_mesh"]
