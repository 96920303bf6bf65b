"""The protocol's fields by group: what is shared, cached and hashed follows from them."""

from __future__ import annotations

from typing import get_args

import pytest

from harness.core.protocol import SHARED_GROUPS, STEP_GROUPS, Group, Protocol
from harness.data.token_cache import compute_split_key
from harness.planning.packs import describe_shared
from tests.reports.records import cell, restore_method

GROUPS = get_args(Group)
OTHER = {
    "group_by_length": True,
    "packed": True,
    "template": "plain",
    "schedule": "constant",
    "optimizer": "sgd",
    "name": "paper",
    "lr_source": "x",
}
"""Another value of the fields that are no numbers."""


def change(field: str) -> Protocol:
    """The default protocol with another value of one field."""
    value = getattr(Protocol(lr=1e-3), field)
    if field in OTHER:
        other: object = OTHER[field]
    elif isinstance(value, float):
        other = value / 2 or 0.5
    else:
        other = 2 * (value or 1)
    return Protocol(lr=1e-3).model_copy(update={field: other})


def test_every_field_has_one_group() -> None:
    by_group = {group: Protocol.list_fields(group) for group in GROUPS}
    assert sorted(field for fields in by_group.values() for field in fields) == sorted(Protocol.model_fields)
    assert all(by_group.values())


@pytest.mark.parametrize("field", sorted(Protocol.model_fields))
def test_cells_of_a_pack_share_what_their_forward_pass_depends_on(field: str) -> None:
    """Learning rate, budget and optimizer are of each cell."""
    plain, other = (
        describe_shared(one, restore_method(one))
        for one in (cell().model_copy(update={"protocol": p}) for p in (Protocol(lr=1e-3), change(field)))
        for one in [one.model_copy(update={"seeds": {"init": 0, "length": 0}})]
    )
    assert (plain != other) == (field in Protocol.list_fields(*SHARED_GROUPS))


@pytest.mark.parametrize("field", sorted(Protocol.model_fields))
def test_tokens_are_kept_under_what_makes_them(field: str) -> None:
    from harness.core.method import SUITES

    task = SUITES.get("glue").tasks["rte"]
    plain, other = (
        compute_split_key("digest", task, [], protocol, train=True, version=1)
        for protocol in (Protocol(lr=1e-3), change(field))
    )
    assert (plain != other) == (field in Protocol.list_fields("tokenization"))


def test_a_step_depends_on_no_budget_and_no_rows() -> None:
    assert not {"budget", "rows", "identity"} & set(STEP_GROUPS)
    assert set(STEP_GROUPS) | {"budget", "rows", "identity"} == set(GROUPS)
