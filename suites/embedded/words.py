"""Vocabulary of the generated texts: every concept has two synonyms."""

from __future__ import annotations

from dataclasses import dataclass

Pair = tuple[str, str]


@dataclass(frozen=True)
class Noun:
    """A noun: its two synonyms and its hypernym `kind`."""

    words: Pair
    kind: str


@dataclass(frozen=True)
class Trait:
    """One pole of an adjective axis; `opposite` holds the words of the other pole."""

    words: Pair
    opposite: Pair


@dataclass(frozen=True)
class Genre:
    """Word lists of one text genre; verbs and traits are shared by all genres."""

    actors: tuple[Noun, ...]
    objects: tuple[Noun, ...]
    places: tuple[Pair, ...]


def _parse_pairs(text: str) -> list[Pair]:
    """Read `one/other one/other ...` into pairs."""
    pairs: list[Pair] = []
    for item in text.split():
        first, second = item.split("/")
        pairs.append((first, second))
    return pairs


def _build_nouns(**kinds: str) -> tuple[Noun, ...]:
    """Build nouns from one word list a kind."""
    return tuple(Noun(words, kind) for kind, text in kinds.items() for words in _parse_pairs(text))


def _build_traits(text: str) -> tuple[Trait, ...]:
    """Build both poles of each axis from a list whose neighbours are opposites."""
    pairs = _parse_pairs(text)
    poles: list[Trait] = []
    for high, low in zip(pairs[::2], pairs[1::2], strict=True):
        poles += [Trait(high, low), Trait(low, high)]
    return tuple(poles)


VILLAGE = Genre(
    _build_nouns(
        animal="dog/hound horse/pony rabbit/bunny pig/hog cow/heifer",
        worker="farmer/grower baker/cook doctor/medic teacher/tutor guard/sentinel",
    ),
    _build_nouns(
        food="loaf/bun apple/pippin pie/tart",
        tool="hammer/mallet shovel/spade broom/duster",
        vehicle="cart/wagon bike/cycle sled/sleigh",
    ),
    tuple(_parse_pairs("barn/stable mill/granary garden/yard market/bazaar bridge/crossing forest/wood")),
)

HARBOR = Genre(
    _build_nouns(
        animal="whale/orca gull/tern crab/prawn seal/otter eel/lamprey",
        worker="sailor/mariner captain/skipper diver/swimmer trader/merchant clerk/scribe",
    ),
    _build_nouns(
        food="herring/sprat biscuit/cracker melon/gourd",
        tool="rope/cord anchor/hook lantern/lamp",
        vehicle="boat/vessel raft/float canoe/kayak",
    ),
    tuple(_parse_pairs("dock/pier beach/shore island/isle cabin/berth deck/gangway tower/beacon")),
)

GENRES = (VILLAGE, HARBOR)

TRAITS = _build_traits(
    "big/large small/tiny old/aged young/youthful quick/fast slow/sluggish happy/glad sad/gloomy "
    "rich/wealthy poor/needy strong/mighty weak/feeble loud/noisy quiet/silent hungry/starving full/sated "
    "tidy/neat dirty/grubby brave/bold shy/timid"
)

VERBS: tuple[Pair, ...] = tuple(
    _parse_pairs(
        "chase/pursue carry/haul push/shove pull/drag watch/observe wash/scrub lift/raise "
        "drop/lower touch/tap kick/boot count/tally follow/trail grab/seize fix/repair"
    )
)

THINGS: tuple[Pair, ...] = tuple(
    _parse_pairs("film/movie story/tale song/tune meal/dinner show/play cast/crew plot/script scene/ending")
)
PRAISE = tuple("great superb lovely brilliant charming funny fresh clever moving warm bright gripping".split())
BLAME = tuple("awful dreadful ugly stupid boring bland stale clumsy tedious cold dull messy".split())
LIKED = ("loved", "enjoyed", "admired", "adored")
DISLIKED = ("hated", "disliked", "despised", "loathed")
AFFIRM = ("indeed", "surely")
DENY = ("not", "never")
