"""The cheapest way to pair rows with columns."""

from __future__ import annotations

import numpy as np


def assign(cost: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (row, column) of least total cost, every row or every column used once, whichever are fewer.

    The Hungarian method with potentials (Kuhn 1955, in the shortest-path form of Jonker and Volgenant), for a handful
    of people: no package needed. Infinite costs mark pairs that must not be; they are never returned.
    """
    cost = np.asarray(cost, np.float64)
    if cost.size == 0:
        return []
    finite = np.isfinite(cost)
    if not finite.any():
        return []
    if cost.size == 1:
        return [(0, 0)]
    # dear enough that no forbidden pair is taken for the sake of cheaper others
    table = np.where(finite, cost, (np.abs(cost[finite]).max() + 1) * (sum(cost.shape) + 1))
    turned = table.shape[0] > table.shape[1]
    if turned:
        table = table.T
    rows, columns = table.shape
    row_price, column_price = np.zeros(rows + 1), np.zeros(columns + 1)
    row_of = np.zeros(columns + 1, int)  # 1-based; 0 = free
    for row in range(1, rows + 1):
        row_of[0], column = row, 0
        least = np.full(columns + 1, np.inf)
        came_from = np.zeros(columns + 1, int)
        done = np.zeros(columns + 1, bool)
        while True:
            done[column] = True
            current = row_of[column]
            reduced = table[current - 1] - row_price[current] - column_price[1:]
            better = ~done[1:] & (reduced < least[1:])
            least[1:][better], came_from[1:][better] = reduced[better], column
            nearest = int(np.where(done, np.inf, least).argmin())
            step = least[nearest]
            row_price[row_of[done]] += step
            column_price[done] -= step
            least[~done] -= step
            column = nearest
            if row_of[column] == 0:
                break
        while column:
            row_of[column] = row_of[came_from[column]]
            column = came_from[column]
    pairs = [(row_of[column] - 1, column - 1) for column in range(1, columns + 1) if row_of[column]]
    if turned:
        pairs = [(second, first) for first, second in pairs]
    return sorted((int(first), int(second)) for first, second in pairs if finite[first, second])
