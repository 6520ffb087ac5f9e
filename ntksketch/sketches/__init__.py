"""Random linear maps that keep inner products: one map a file."""

from .complex_tensor_srht import ComplexTensorSRHT
from .count_sketch import CountSketch
from .hadamard import hadamard_transform
from .osnap import OSNAP
from .srht import SRHT
from .tensor_sketch import TensorSketch
from .tensor_srht import TensorSRHT
from .tree_sketch import TreeSketch

__all__ = [
    "OSNAP",
    "SRHT",
    "ComplexTensorSRHT",
    "CountSketch",
    "TensorSRHT",
    "TensorSketch",
    "TreeSketch",
    "hadamard_transform",
]
