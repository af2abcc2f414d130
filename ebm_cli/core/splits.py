"""Random splits of events into training, validation and test, in which equal events stay together.

A copy of a training event in the test split measures memory, not generalization: a model that is a sum of narrow peaks at the training
events would seem excellent there.
"""

import numpy as np


def split(n_test: int, n_validation: int, groups: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """The rows of each split. `groups` (N,) holds the index of the first row that equals each row; groups are not divided.

    Groups are taken in random order. Each goes to the test split if it has room, else to the validation split, else to the training split.
    So the first `n_test` rows of the order are for test and the next `n_validation` for validation if no rows are equal.
    """
    order = np.random.default_rng(seed).permutation(len(groups))
    sizes = np.bincount(groups, minlength=len(groups))
    if sizes.max() in (1, len(groups)):  # events that are all equal are in all splits
        test, validation, train = np.split(order, [n_test, n_test + n_validation])
        return {"train": train, "validation": validation, "test": test}
    _, first = np.unique(groups[order], return_index=True)
    room, place = {"test": n_test, "validation": n_validation}, np.empty(len(groups), dtype=np.int8)
    for group in groups[order[np.sort(first)]].tolist():  # in the order of their first rows
        size = int(sizes[group])
        name = next((name for name, left in room.items() if size <= left), None)
        place[group] = 2 if name is None else [*room].index(name)
        if name is not None:
            room[name] -= size
    found = place[groups[order]]
    return {name: order[found == i] for i, name in enumerate((*room, "train"))}


def equal_rows(rows: np.ndarray) -> np.ndarray:
    """For each row of (N, D), the index of the first row that is equal to it, (N,). A missing value (nan) equals another.

    Rows are compared exactly if a hash of 64 bits finds others with the same hash, so that a million rows take a second.
    """
    groups = np.arange(len(rows))
    values = np.where(np.isnan(rows), np.nan, rows + 0.0)  # one bit pattern for nan, and one for zero
    bits = np.ascontiguousarray(values, dtype=np.float64).view(np.uint64)
    bits = bits ^ (bits >> np.uint64(32))  # integers have zeros in the lower half
    factors = np.random.default_rng(0).integers(0, 2**63, bits.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    hashes = (bits * factors).sum(1, dtype=np.uint64)
    _, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    some = np.flatnonzero(counts[inverse] > 1)
    if len(some):
        _, first, same = np.unique(bits[some], axis=0, return_index=True, return_inverse=True)
        groups[some] = some[first[same.reshape(-1)]]
    return groups
