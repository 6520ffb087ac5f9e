"""The Neural Tangent Kernel at scale."""
