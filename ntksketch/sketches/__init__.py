"""Random linear maps that keep inner products: one map a file."""

from .count_sketch import CountSketch
from .hadamard import hadamard_transform
from .srht import SRHT
from .tensor_sketch import TensorSketch
from .tensor_srht import TensorSRHT

__all__ = ["SRHT", "CountSketch", "TensorSRHT", "TensorSketch", "hadamard_transform"]
