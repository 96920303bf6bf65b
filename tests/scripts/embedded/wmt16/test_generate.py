"""WMT16-shaped data: made again byte for byte, aligned, with both kinds of Romanian letters."""

from __future__ import annotations

from pathlib import Path

from tests.scripts.embedded.made import SHIPPED, contents, made, size_of

FOLDER = SHIPPED / "data" / "wmt16"
SIZES = {"train": 1500, "newsdev2016": 200, "newstest2016": 300}


def lines(name: str) -> list[str]:
    return (FOLDER / name).read_text(encoding="utf-8").splitlines()


def test_the_script_makes_the_shipped_bytes(tmp_path: Path) -> None:
    shipped = contents(FOLDER)
    assert set(shipped) == {f"{split}.{code}" for split in SIZES for code in ("en", "ro")}
    assert size_of(FOLDER) <= 400_000
    assert made("wmt16", tmp_path / "0", seed=0) == shipped
    assert all(data != shipped[name] for name, data in made("wmt16", tmp_path / "1", seed=1).items())


def test_sides_are_aligned_and_splits_apart() -> None:
    english = {split: lines(f"{split}.en") for split in SIZES}
    assert {split: len(found) for split, found in english.items()} == SIZES
    assert {split: len(lines(f"{split}.ro")) for split in SIZES} == SIZES
    everything = [line for found in english.values() for line in found]
    assert len(set(everything)) == len(everything)


def test_older_letters_stand_in_train_only() -> None:
    train = lines("train.ro")
    older = [line for line in train if set("şţ") & set(line)]
    assert 0.1 < len(older) / len(train) < 0.25
    assert not any(set("șț") & set(line) for line in older)
    tested = "".join(lines("newsdev2016.ro") + lines("newstest2016.ro"))
    assert not set("şţ") & set(tested)
    assert set("șțăâî") <= set(tested)
