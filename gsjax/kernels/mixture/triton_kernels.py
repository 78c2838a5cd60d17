"""Mixtures of atoms for NVIDIA GPUs: the loops over queries × atoms, in Triton.

Weights are 2^(logit − lse): the keys come multiplied by log2(e), and lse is the base-2
logarithm of a row's sum. An atom comes as a row of WIDTH numbers, a multiple of four:
its key (D numbers), the atom itself (L numbers), 1, and zeros. Atoms that only fill up
a share repeat a real key, which keeps the peak what it is, and have zeros for the rest:
they weigh nothing. Lanes share nothing until they are done, and no sum depends on the
order in which programs run.
"""

from typing import no_type_check

import triton
import triton.language as tl

from gsjax.kernels.triton_loads import load_row


@triton.jit
@no_type_check
def mix_kernel(
    queries,  # [B, M, D]
    table,  # [B, A, WIDTH]
    mixed,  # [B, M, L], written
    lse,  # [B, M], written
    M: tl.constexpr,
    A: tl.constexpr,  # a multiple of SPLIT · STEP
    D: tl.constexpr,
    L: tl.constexpr,
    WIDTH: tl.constexpr,
    GROUP: tl.constexpr,  # rows of a lane
    SPLIT: tl.constexpr,  # lanes that share their rows: each takes every SPLIT-th atom
    STEP: tl.constexpr,  # atoms of a lane between two looks at the peak
    LANES: tl.constexpr,  # of a program, without their sharing
):
    """Mixes: a running peak, and the sums of weights and atoms relative to it."""
    groups: tl.constexpr = (M + GROUP - 1) // GROUP
    batch = tl.program_id(1).to(tl.int64)
    first = tl.program_id(0) * LANES + tl.arange(0, LANES)
    share = tl.arange(0, SPLIT)
    address = table + batch * (A * WIDTH) + (first * 0)[:, None] + (share * WIDTH)[None, :]
    zero = tl.zeros([LANES, SPLIT], tl.float32)

    rows = ()
    for g in tl.static_range(GROUP):
        row = first + g * groups
        numbers = ()
        for i in tl.static_range(D):
            number = tl.load(queries + (batch * M + row) * D + i, mask=row < M, other=0.0)
            numbers += (number[:, None],)
        rows += (numbers,)

    peaks = (zero - float("inf"),) * GROUP
    sums = ((zero,) * (L + 1),) * GROUP
    for atom in range(0, A, SPLIT * STEP):
        atoms = ()
        for s in tl.static_range(STEP):
            atoms += (load_row(address + (atom + s * SPLIT) * WIDTH, WIDTH),)
        new_peaks, new_sums = (), ()
        for g in tl.static_range(GROUP):
            peak = peaks[g]
            logits = ()
            for s in tl.static_range(STEP):
                logits += (_dot(rows[g], atoms[s], D),)
                peak = tl.maximum(peak, logits[s])
            shrink = tl.exp2(peaks[g] - peak)
            added = ()
            for i in tl.static_range(L + 1):
                added += (sums[g][i] * shrink,)
            for s in tl.static_range(STEP):
                weight = tl.exp2(logits[s] - peak)
                more = ()
                for i in tl.static_range(L + 1):
                    more += (added[i] + weight * atoms[s][D + i],)
                added = more
            new_peaks += (peak,)
            new_sums += (added,)
        peaks, sums = new_peaks, new_sums

    for g in tl.static_range(GROUP):
        row = first + g * groups
        peak = tl.max(peaks[g], axis=1)
        shrink = tl.exp2(peaks[g] - peak[:, None])
        total = tl.sum(sums[g][L] * shrink, axis=1)
        tl.store(lse + batch * M + row, peak + tl.log2(total), mask=row < M)
        for i in tl.static_range(L):
            value = tl.sum(sums[g][i] * shrink, axis=1) / total
            tl.store(mixed + (batch * M + row) * L + i, value, mask=row < M)


@triton.jit
@no_type_check
def queries_kernel(
    rows,  # [B, M, ROW_WIDTH]
    table,  # [B, A, WIDTH]
    d_queries,  # [B, M, D], written
    M: tl.constexpr,
    A: tl.constexpr,  # a multiple of SPLIT
    D: tl.constexpr,
    L: tl.constexpr,
    WIDTH: tl.constexpr,
    ROW_WIDTH: tl.constexpr,
    GROUP: tl.constexpr,  # rows of a lane
    SPLIT: tl.constexpr,  # lanes that share their rows
    LANES: tl.constexpr,
):
    """Sums weight · (error · atom − error · mixed) · key over the atoms."""
    groups: tl.constexpr = (M + GROUP - 1) // GROUP
    batch = tl.program_id(1).to(tl.int64)
    first = tl.program_id(0) * LANES + tl.arange(0, LANES)
    share = tl.arange(0, SPLIT)
    address = table + batch * (A * WIDTH) + (first * 0)[:, None] + (share * WIDTH)[None, :]
    zero = tl.zeros([LANES, SPLIT], tl.float32)

    members = ()
    for g in tl.static_range(GROUP):
        row = first + g * groups
        numbers = ()
        for i in tl.static_range(D + L + 2):
            place = rows + (batch * M + row) * ROW_WIDTH + i
            numbers += (tl.load(place, mask=row < M, other=0.0)[:, None],)
        members += (numbers,)

    sums = ((zero,) * D,) * GROUP
    for atom in range(0, A, SPLIT):
        other = load_row(address + atom * WIDTH, WIDTH)
        added = ()
        for g in tl.static_range(GROUP):
            weight = tl.exp2(_dot(members[g], other, D) - members[g][D + L + 1])
            worth = members[g][D] * other[D]
            # The last of an atom's numbers is 1, and of the error's −error · mixed.
            for i in tl.static_range(1, L + 1):
                worth += members[g][D + i] * other[D + i]
            pull = weight * worth
            new = ()
            for i in tl.static_range(D):
                new += (sums[g][i] + pull * other[i],)
            added += (new,)
        sums = added

    for g in tl.static_range(GROUP):
        row = first + g * groups
        for i in tl.static_range(D):
            value = tl.sum(sums[g][i], axis=1)
            tl.store(d_queries + (batch * M + row) * D + i, value, mask=row < M)


@triton.jit
@no_type_check
def keys_kernel(
    rows,  # [B, M, ROW_WIDTH]
    table,  # [B, A, WIDTH]
    parts,  # [B, PARTS, D + L, A], written: sums over a part of the rows each
    M: tl.constexpr,  # a multiple of PARTS
    A: tl.constexpr,
    D: tl.constexpr,
    L: tl.constexpr,
    WIDTH: tl.constexpr,
    ROW_WIDTH: tl.constexpr,
    GROUP: tl.constexpr,  # atoms of a lane
    PARTS: tl.constexpr,
    LANES: tl.constexpr,
    UNROLL: tl.constexpr,
):
    """Sums weight · (error · atom − error · mixed) · query and weight · error over rows."""
    groups: tl.constexpr = (A + GROUP - 1) // GROUP
    part = tl.program_id(2).to(tl.int64) * PARTS + tl.program_id(1)
    batch = tl.program_id(2).to(tl.int64)
    first = tl.program_id(0) * LANES + tl.arange(0, LANES)
    address = rows + part * (M // PARTS * ROW_WIDTH) + (first * 0)[:, None]
    zero = tl.zeros([LANES, 1], tl.float32)

    members = ()
    for g in tl.static_range(GROUP):
        atom = first + g * groups
        numbers = ()
        for i in tl.static_range(D + L):
            place = table + (batch * A + atom) * WIDTH + i
            numbers += (tl.load(place, mask=atom < A, other=0.0)[:, None],)
        members += (numbers,)

    sums = ((zero,) * (D + L),) * GROUP
    for row in tl.range(0, M // PARTS, loop_unroll_factor=UNROLL):
        other = load_row(address + row * ROW_WIDTH, ROW_WIDTH)
        added = ()
        for g in tl.static_range(GROUP):
            weight = tl.exp2(_dot(members[g], other, D) - other[D + L + 1])
            worth = other[D + L]
            for i in tl.static_range(L):
                worth += other[D + i] * members[g][D + i]
            pull = weight * worth
            new = ()
            for i in tl.static_range(D):
                new += (sums[g][i] + pull * other[i],)
            for i in tl.static_range(L):
                new += (sums[g][D + i] + weight * other[D + i],)
            added += (new,)
        sums = added

    for g in tl.static_range(GROUP):
        atom = (first + g * groups)[:, None]
        for i in tl.static_range(D + L):
            place = parts + (part * (D + L) + i) * A + atom
            tl.store(place, sums[g][i], mask=atom < A)


@triton.jit
@no_type_check
def _dot(row, other, COUNT: tl.constexpr):
    """Multiplies the first COUNT numbers of two tuples in pairs and adds them up."""
    total = row[0] * other[0]
    for i in tl.static_range(1, COUNT):
        total += row[i] * other[i]
    return total
