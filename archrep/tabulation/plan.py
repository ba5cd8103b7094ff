"""Which nodes of which cells are computed together.

A cell is read as a function: a node applies its operation to the sum of its predecessors, the first
node is the input and the last the sum of what arrives there. `plan_cell` leaves out what cannot
matter; `group_nodes` puts the same operation of many networks into one group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from archrep.cells.cell import Cell
from archrep.errors import CellError
from archrep.tabulation.operations import (
    IDENTITY,
    INPUT,
    KEEPS_ZERO,
    OUTPUT,
    ZERO,
    known_operations,
)

CELL_INPUT = 0
"""Number of the node, and of the group, that is the input of a cell."""


@dataclass(frozen=True)
class PlannedNode:
    """One operation that is computed.

    Attributes:
        node: Its number in the cell.
        op: Its label.
        terms: Nodes whose values it sums; a node that arrives on two ways stands there twice.
        level: Longest way from the input, at least 1.
    """

    node: int
    op: str
    terms: tuple[int, ...]
    level: int


@dataclass(frozen=True)
class CellPlan:
    """The nodes of a cell that reach its output, and the terms of the output."""

    nodes: tuple[PlannedNode, ...]
    output: tuple[int, ...]


def check_trainable(cell: Cell) -> None:
    """Refuse a cell without one input and one output, or with an operation nobody knows.

    Raises:
        CellError: With the reason.
    """
    if len(cell) < 2 or cell.ops[0] != INPUT or cell.ops[-1] != OUTPUT:
        raise CellError(
            f"A cell that is trained begins with {INPUT!r} and ends with {OUTPUT!r}. "
            f"Got {cell.ops}."
        )
    inner = [op for op in cell.ops[1:-1] if op not in set(known_operations()) - {INPUT, OUTPUT}]
    if inner:
        raise CellError(
            f"Operations that can be trained are {', '.join(known_operations())}. "
            f"Got {inner[0]!r}. Add it with `archrep.tabulation.register_operation`."
        )


def plan_cell(cell: Cell) -> CellPlan:
    """What has to be computed of `cell`; the function is unchanged.

    `ZERO` vanishes with all that only it feeds, `IDENTITY` of one term becomes that term, and a
    node from which no way leads to the output is dropped. A convolution that is fed nothing stays:
    its batch norm still adds a trained constant, in the benchmark's networks too.

    Raises:
        CellError: The cell cannot be trained; see `check_trainable`.
    """
    check_trainable(cell)
    value: dict[int, tuple[int, ...]] = {CELL_INPUT: (CELL_INPUT,)}  # node -> nodes that it sums
    nodes: dict[int, PlannedNode] = {}
    for v in range(1, len(cell)):
        terms = tuple(term for p in cell.predecessors(v) for term in value[p])
        op = cell.ops[v]
        if op == ZERO or (op in KEEPS_ZERO and not terms):
            value[v] = ()
        elif op == OUTPUT or (op == IDENTITY and len(terms) == 1):
            value[v] = terms
        else:
            level = 1 + max((nodes[t].level for t in terms if t != CELL_INPUT), default=0)
            nodes[v] = PlannedNode(v, op, terms, level)
            value[v] = (v,)
    output = value[len(cell) - 1]
    needed = set(output)
    for v in reversed(nodes):
        if v in needed:
            needed.update(nodes[v].terms)
    return CellPlan(tuple(node for v, node in nodes.items() if v in needed), output)


@dataclass(frozen=True)
class Gather:
    """A sum for each member of a group.

    Attributes:
        size: Members.
        sources: Triples (group, positions in it, members of this group that they are added to).
    """

    size: int
    sources: tuple[tuple[int, tuple[int, ...], tuple[int, ...]], ...]


@dataclass(frozen=True)
class Group:
    """One operation of several networks at once.

    Attributes:
        op: Its label.
        owners: Network and node of each member.
        inputs: What each member is applied to.
    """

    op: str
    owners: tuple[tuple[int, int], ...]
    inputs: Gather


@dataclass(frozen=True)
class BatchPlan:
    """The cells of several networks: groups in an order of computation, then their outputs.

    Group 0 is the input of the cells; `groups[g]` is group `g + 1`.
    """

    groups: tuple[Group, ...]
    output: Gather


def group_nodes(plans: Sequence[CellPlan]) -> BatchPlan:
    """Join the nodes of several networks that have the same operation and level."""
    members: dict[tuple[int, str], list[tuple[int, PlannedNode]]] = {}
    for network, plan in enumerate(plans):
        for node in plan.nodes:
            members.setdefault((node.level, node.op), []).append((network, node))
    place = {(network, CELL_INPUT): (0, network) for network in range(len(plans))}
    groups = []
    for number, ((_, op), group) in enumerate(sorted(members.items()), start=1):
        inputs = _gather([(network, node.terms) for network, node in group], place)
        owners = tuple((network, node.node) for network, node in group)
        place |= {owner: (number, position) for position, owner in enumerate(owners)}
        groups.append(Group(op, owners, inputs))
    outputs = [(network, plan.output) for network, plan in enumerate(plans)]
    return BatchPlan(tuple(groups), _gather(outputs, place))


def _gather(
    sums: list[tuple[int, tuple[int, ...]]], place: dict[tuple[int, int], tuple[int, int]]
) -> Gather:
    """Where the terms of each (network, terms) are found."""
    sources: dict[int, tuple[list[int], list[int]]] = {}
    for member, (network, terms) in enumerate(sums):
        for term in terms:
            group, position = place[network, term]
            positions, targets = sources.setdefault(group, ([], []))
            positions.append(position)
            targets.append(member)
    return Gather(
        len(sums), tuple((g, tuple(p), tuple(t)) for g, (p, t) in sorted(sources.items()))
    )
