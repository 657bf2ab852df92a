"""Positions: stages from left to right, each a stack of groups, each group columns of nodes."""

from __future__ import annotations

from collections.abc import Sequence

from demo.workflows.graph import Group, Workflow

GAP, TITLE, EDGE, HEAD, BETWEEN = 60, 40, 20, 90, 20
TOP, LEFT = 0, 520
NOTE_WIDTH = 460


def place(workflow: Workflow, stages: Sequence[Sequence[Group]], left: int = LEFT) -> None:
    """Set the position of every node and draw the groups; the groups of all stages end at the same height."""
    heights = [[_height(group) for group in stage] for stage in stages]
    tallest = max(sum(stage) + BETWEEN * (len(stage) - 1) for stage in heights)
    x = left
    for stage, high in zip(stages, heights, strict=True):
        y = TOP - HEAD
        width = max(_width(group) for group in stage)
        for at, (group, height) in enumerate(zip(stage, high, strict=True)):
            if at == len(stage) - 1:
                height = TOP - HEAD + tallest - y
            workflow.group(group.title, group.color, (x - EDGE, y, width, height))
            _fill(group, x, y + HEAD)
            y += height + BETWEEN
        x += width + BETWEEN


def _fill(group: Group, x: int, top: int) -> None:
    for column in group.columns:
        y = top
        for node in column:
            node.position = (x, y)
            y += node.size[1] + GAP
        x += max(node.size[0] for node in column) + GAP


def _height(group: Group) -> int:
    return HEAD + EDGE + max(sum(node.size[1] + GAP for node in column) - GAP for column in group.columns)


def _width(group: Group) -> int:
    return 2 * EDGE + sum(max(node.size[0] for node in column) + GAP for column in group.columns) - GAP
