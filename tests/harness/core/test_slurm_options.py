"""The text of --slurm: Slurm's own forms of times and sizes, and mistakes."""

from __future__ import annotations

import pytest

from harness.core.errors import UserError
from harness.core.slurm_options import parse_slurm
from harness.core.spec import MACHINE_FIELDS
from harness.core.spec_reading import make_spec


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        # the forms in sbatch's manual: minutes, minutes:seconds, hours:minutes:seconds, days-hours, ...
        *[("90", 90), ("90:30", 91), ("02:00:00", 120), ("2-3", 51 * 60), ("2-3:04", 51 * 60 + 4)],
        *[("1-00:00:00", 24 * 60), ("00:00:01", 1)],
    ],
)
def test_times(text: str, minutes: int) -> None:
    assert parse_slurm(f"time={text},grace=1").minutes == minutes


@pytest.mark.parametrize(
    ("text", "count"), [("32G", 32 * 2**30), ("512", 512 * 2**20), ("1.5T", 3 * 2**39), ("80GiB", 80 * 2**30)]
)
def test_sizes(text: str, count: int) -> None:
    assert parse_slurm(f"mem={text}").mem == count


def test_other_keys_reach_sbatch_as_they_are() -> None:
    options = parse_slurm("partition=gpu, account=a1,qos=low,constraint=h100&ib,gpus=h100:1,parallel=64")
    assert options.flags == {"partition": "gpu", "account": "a1", "qos": "low", "constraint": "h100&ib"}
    assert (options.gpus, options.parallel, options.minutes) == ("h100:1", 64, 60)


@pytest.mark.parametrize(
    "text",
    [
        *["time=0", "time=soon", "time=1:2:3:4", "time=-5", "mem=32GB", "mem=-1G", "mem=", "gpus=2", "cpus=0"],
        *["parallel=0", "partition", "=gpu", "partion=gpu", "time=60,time=70", "gpus=1,gres=gpu:1", "cluster=pbs"],
        *["time=1,grace=60", "partition=a\x07b", "mem=0G"],
    ],
)
def test_mistakes_are_one_line(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_slurm(text)
    assert "--slurm" in str(caught.value) and "\n" not in str(caught.value) and str(caught.value).isprintable()


def test_options_need_the_executor_and_change_no_result() -> None:
    with pytest.raises(UserError, match="add --executor slurm"):
        make_spec({"slurm": "partition=gpu"})
    assert "slurm" in MACHINE_FIELDS
    assert make_spec({"executor": "slurm", "slurm": "partition=gpu"}).folder == make_spec({}).folder
