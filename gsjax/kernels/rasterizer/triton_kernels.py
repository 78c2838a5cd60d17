"""Splatting for NVIDIA GPUs: the loops over pixels × Gaussians, in Triton.

A Gaussian comes as a row of WIDTH numbers, a multiple of four: x, y, r11, l21, r22, its
color (C numbers) and zeros, scaled such that α = 2^−(u² + v²) with u = (x − column)·r11
and v = (y − row − l21·u)·r22. Lengths are within `reference.LARGEST` and reciprocals
below 10¹², so u is finite, and where u² + v² is not, α is 0.

u depends on the column alone. Both kernels therefore give a lane several opacities in
one column, which leaves three multiplications and an addition to each beside its
exponential and what is done with it. Lanes share nothing until they are done, and no
sum depends on the order in which programs run.
"""

from typing import no_type_check

import triton
import triton.language as tl

from gsjax.kernels.triton_loads import load_row


@triton.jit
@no_type_check
def draw_kernel(
    gaussians,  # [P, N, WIDTH]
    image,  # [P, H, W, C], written
    P: tl.constexpr,
    N: tl.constexpr,  # a multiple of SPLIT
    C: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,  # pixels of a lane: a strip of a column
    SPLIT: tl.constexpr,  # lanes that share a strip: each draws every SPLIT-th Gaussian
    STRIPS: tl.constexpr,  # strips of a program
):
    """Draws Σ_k α_k·color_k; all patches' strips are counted through."""
    strips_a_column: tl.constexpr = (H + ROWS - 1) // ROWS
    strips_a_patch: tl.constexpr = W * strips_a_column
    strip = tl.program_id(0).to(tl.int64) * STRIPS + tl.arange(0, STRIPS)
    exists = strip < P * strips_a_patch
    patch = tl.where(exists, strip // strips_a_patch, 0)
    place = (strip % strips_a_patch).to(tl.int32)
    column = place % W
    top = place // W * ROWS
    x = column.to(tl.float32)[:, None]
    y = top.to(tl.float32)[:, None]

    share = tl.arange(0, SPLIT)[None, :] * WIDTH
    address = gaussians + (patch * (N * WIDTH))[:, None] + share
    drawn = (tl.zeros([STRIPS, SPLIT], tl.float32),) * (ROWS * C)
    for first in range(0, N, SPLIT):
        numbers = load_row(address + first * WIDTH, WIDTH)
        u = (numbers[0] - x) * numbers[2]
        flat = -(u * u)
        added = ()
        for row in tl.static_range(ROWS):
            v = (numbers[1] - (y + row) - numbers[3] * u) * numbers[4]
            alpha = tl.exp2(flat - v * v)
            for c in tl.static_range(C):
                added += (drawn[row * C + c] + alpha * numbers[5 + c],)
        drawn = added

    pixel = image + patch * (H * W * C) + (top * W + column) * C
    for row in tl.static_range(ROWS):
        for c in tl.static_range(C):
            total = tl.sum(drawn[row * C + c], axis=1)
            tl.store(pixel + row * W * C + c, total, mask=exists & (top + row < H))


@triton.jit
@no_type_check
def moments_kernel(
    gaussians,  # [P, N, WIDTH]
    errors,  # [P, H, W, C]
    moments,  # [P, N, 5 + C], written
    P: tl.constexpr,
    N: tl.constexpr,
    C: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
    WIDTH: tl.constexpr,
    GROUP: tl.constexpr,  # Gaussians of a lane
    LANES: tl.constexpr,  # of a program
    ROWS: tl.constexpr,  # rows in flight
    FARTHEST: tl.constexpr,  # past which u may be clipped
):
    """Sums h·u, h·w, h·u², h·u·w, h·w² and α·error over pixels.

    h is α · Σ_c error_c·color_c and w is v/r22, in pixels.
    """
    groups: tl.constexpr = (N + GROUP - 1) // GROUP
    lane = tl.program_id(0).to(tl.int64) * LANES + tl.arange(0, LANES)
    exists = lane < P * groups
    patch = tl.where(exists, lane // groups, 0)
    first = (lane % groups).to(tl.int32)
    error_address = errors + patch * (H * W * C)
    zero = tl.zeros([LANES], tl.float32)

    members, sharp = (), ()
    for g in tl.static_range(GROUP):
        k = first + g * groups
        numbers = ()
        for i in tl.static_range(5 + C):
            address = gaussians + (patch * N + k) * WIDTH + i
            numbers += (tl.load(address, mask=k < N, other=0.0),)
        members += (numbers,)
        sharp += (-(numbers[4] * numbers[4]),)

    sums = ((zero,) * (5 + C),) * GROUP
    for column in range(0, W):
        u, uu, slanted = (), (), ()
        for g in tl.static_range(GROUP):
            # Clipped, or w² could be infinite and h·w² not a number.
            place = (members[g][0] - column) * members[g][2]
            u += (tl.minimum(tl.maximum(place, -FARTHEST), FARTHEST),)
            uu += (u[g] * u[g],)
            slanted += (members[g][3] * u[g],)

        # What is to be multiplied by u is summed over the column first.
        in_column = ((zero,) * (2 + C),) * GROUP
        for top in range(0, H, ROWS):
            y = top * 1.0
            for row in tl.static_range(ROWS):
                error = ()
                for c in tl.static_range(C):
                    address = error_address + ((top + row) * W + column) * C + c
                    if H % ROWS == 0:
                        error += (tl.load(address),)
                    else:
                        error += (tl.load(address, mask=top + row < H, other=0.0),)
                added = ()
                for g in tl.static_range(GROUP):
                    w = members[g][1] - (y + row) - slanted[g]
                    ww = w * w
                    alpha = tl.exp2(ww * sharp[g] - uu[g])
                    worth = error[0] * members[g][5]
                    for c in tl.static_range(1, C):
                        worth += error[c] * members[g][5 + c]
                    h = alpha * worth
                    new = (in_column[g][0] + h * w, in_column[g][1] + h * ww)
                    for c in tl.static_range(C):
                        new += (in_column[g][2 + c] + alpha * error[c],)
                    added += (new,)
                in_column = added

        added = ()
        for g in tl.static_range(GROUP):
            hw, hww = in_column[g][0], in_column[g][1]
            h = in_column[g][2] * members[g][5]
            for c in tl.static_range(1, C):
                h += in_column[g][2 + c] * members[g][5 + c]
            hu = h * u[g]
            new = (sums[g][0] + hu, sums[g][1] + hw)
            new += (sums[g][2] + hu * u[g], sums[g][3] + hw * u[g], sums[g][4] + hww)
            for c in tl.static_range(C):
                new += (sums[g][5 + c] + in_column[g][2 + c],)
            added += (new,)
        sums = added

    for g in tl.static_range(GROUP):
        k = first + g * groups
        for i in tl.static_range(5 + C):
            address = moments + (patch * N + k) * (5 + C) + i
            tl.store(address, sums[g][i], mask=exists & (k < N))
