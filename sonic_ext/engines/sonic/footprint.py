"""What the published networks need: bytes and floating-point operations, forecast before anything is loaded.

Numbers in, numbers out. Coefficients are fitted to counts that `benchmarks/footprint.py` makes with the real
networks on tensors without contents, pieces cut as on a GPU. A count is the largest sum of bytes of
tensors alive at one time, above weights and inputs; an allocator's rounding, workspaces of cuDNN and cuBLAS and
the context of CUDA come on top and are the caller's reserve. Forecasts are within 10 % of the counts for
pictures of 320² to 1024² pixels. Operations are those of matrix products, convolutions and attention, two for a
multiplication with its addition.
"""

from __future__ import annotations
