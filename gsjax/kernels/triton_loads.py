"""What the Triton kernels share."""

import triton
import triton.language as tl


@triton.jit
def load_row(address, COUNT: tl.constexpr):
    """Loads COUNT numbers that lie side by side: a tuple of arrays like `address`, 2D.

    COUNT is a multiple of four, and so are the places of the first ones: a lane then
    loads four numbers with one instruction.
    """
    numbers = ()
    for i in tl.static_range(0, COUNT, 4):
        four = tl.load(address[:, :, None] + (i + tl.arange(0, 4))[None, None, :])
        even, odd = tl.split(four.reshape(address.shape[0], address.shape[1], 2, 2))
        one, three = tl.split(even)
        two, last = tl.split(odd)
        numbers += (one, two, three, last)
    return numbers
