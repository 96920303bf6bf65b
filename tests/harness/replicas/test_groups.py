"""What is attached in two parts and trains as one."""

from __future__ import annotations

import dataclasses

from harness.replicas.groups import Attached


def test_what_is_joined_loses_no_hook_of_either() -> None:
    lists = [f.name for f in dataclasses.fields(Attached) if f.default_factory is list]
    assert {"keep_rows", "after_step", "invalidate", "eager_steps", "extra_of", "extra_state"} <= set(lists)
    one, other = (Attached([], [n], extra={str(n): n}, **{name: [(name, n)] for name in lists}) for n in (1, 2))
    both = one.join(other)
    assert both.stored == [3] and both.extra == {"1": 1, "2": 2}
    assert all(getattr(both, name) == [(name, 1), (name, 2)] for name in lists)
