"""Writes <dtype>.bin (three blocks of fixed random bytes) and <dtype>.f32.bin (what they are worth).

The values come from the `gguf` package, the ecosystem's own reading of its formats:
    pip install gguf numpy && python make.py
"""

import pathlib

import gguf
import numpy as np

BLOCKS = 3
# dtype: byte offsets of the f16 fields of a block, which are redrawn so that none is infinite or NaN
HALVES = {
    "F16": [], "BF16": [],
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}

here = pathlib.Path(__file__).parent
rng = np.random.default_rng(20240229)
for name, halves in HALVES.items():
    dtype = gguf.GGMLQuantizationType[name]
    elements, block_bytes = gguf.GGML_QUANT_SIZES[dtype]
    if elements == 1:  # every 16-bit pattern class matters: subnormal, zero, either sign
        special = np.array([0.0, -0.0, 1.0, -2.5, 6e-8, 6.1e-5, 65504.0, -1e-3], dtype=np.float32)
        values = np.concatenate([special, rng.standard_normal(56, dtype=np.float32)])
        blocks = gguf.quants.quantize(values, dtype).view(np.uint8)
    else:
        blocks = rng.integers(0, 256, (BLOCKS, block_bytes), dtype=np.uint8)
        for offset in halves:
            half = rng.uniform(-2.0, 2.0, BLOCKS).astype("<f2")
            blocks[:, offset : offset + 2] = half.view(np.uint8).reshape(BLOCKS, 2)
    expected = gguf.quants.dequantize(blocks.reshape(-1), dtype).astype("<f4")
    (here / f"{name.lower()}.bin").write_bytes(blocks.tobytes())
    (here / f"{name.lower()}.f32.bin").write_bytes(expected.tobytes())
