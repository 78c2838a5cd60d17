"""Loads for the Triton kernels."""

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def load_row(address, COUNT: tl.constexpr):
    """Loads COUNT contiguous numbers at each address: a tuple of arrays shaped like `address`, 2D.

    COUNT and the offsets of the addresses are multiples of four, so that a lane loads four
    numbers with one instruction.
    """
    numbers = ()
    for i in tl.static_range(0, COUNT, 4):
        four = tl.load(address[:, :, None] + (i + tl.arange(0, 4))[None, None, :])
        even, odd = tl.split(four.reshape(address.shape[0], address.shape[1], 2, 2))
        one, three = tl.split(even)
        two, last = tl.split(odd)
        numbers += (one, two, three, last)
    return numbers
