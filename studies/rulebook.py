"""The rules by name: each turns what a study's runs left into an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from studies.answer import Answer, Gathered
from studies.rules import accounting, claims, compared, contrast, gaps, memory, scaling, streams
from studies.study import Study

RULES: Mapping[str, Callable[[Study, Gathered], Answer]] = {
    "accounting": accounting.answer,
    "claims": claims.answer,
    "compared": compared.answer,
    "contrast": contrast.answer,
    "gaps": gaps.answer,
    "memory": memory.answer,
    "scaling": scaling.answer,
    "streams": streams.answer,
}
