"""A statement in English and in Romanian, and as a telegram (stems in English order) in both."""

from __future__ import annotations

from collections.abc import Callable

from scripts.embedded.wmt16 import romanian
from scripts.embedded.wmt16.clauses import Clause, Phrase, Statement
from scripts.embedded.wmt16.romanian import (
    BE,
    FUNCTION,
    HAVE,
    PARTICIPLE,
    PRESENT,
    THIS,
    build_lexicon,
    inflect_adjective,
)
from suites.embedded.morphology import form_participle, form_plural, form_third_person

NEGATION = {"en": "no", "ro": "nu"}


def render_english_phrase(phrase: Phrase) -> list[str]:
    """Determiner, adjective, noun."""
    determiner = ("these" if phrase.plural else "this") if phrase.pointed else "the"
    noun = form_plural(phrase.noun) if phrase.plural else phrase.noun
    return [determiner, *([phrase.adjective] if phrase.adjective else []), noun]


def render_english_verb(clause: Clause) -> list[str]:
    """The verb with its auxiliaries, in agreement with the subject."""
    plural = (clause.patient if clause.passive else clause.actor).plural
    negation = ["not"] if clause.denied else []
    if clause.passive:
        be = ("were" if plural else "was") if clause.past else "are" if plural else "is"
        return [be, *negation, form_participle(clause.verb), "by"]
    if clause.denied:
        return ["did" if clause.past else "do" if plural else "does", "not", clause.verb]
    return [form_participle(clause.verb) if clause.past else clause.verb if plural else form_third_person(clause.verb)]


def render_english(clause: Clause) -> list[str]:
    """Subject, verb, the other participant, place, time."""
    actor, patient = render_english_phrase(clause.actor), render_english_phrase(clause.patient)
    first, last = (patient, actor) if clause.passive else (actor, patient)
    place = ["near", "the", clause.place] if clause.place else []
    return [*first, *render_english_verb(clause), *last, *place, *([clause.when] if clause.when else [])]


def render_romanian_phrase(phrase: Phrase) -> list[str]:
    """Noun with its article as an ending, then the adjective in agreement."""
    gender = romanian.draw_genders()[phrase.noun]
    words = [THIS[gender][phrase.plural]] if phrase.pointed else []
    words.append(romanian.inflect_noun(phrase.noun, phrase.plural, not phrase.pointed))
    adjective = phrase.adjective
    return [*words, inflect_adjective(build_lexicon()[adjective], phrase.noun, phrase.plural)] if adjective else words


def render_romanian_verb(clause: Clause) -> list[str]:
    """The verb with its auxiliaries; the passive participle agrees with the patient."""
    stem, negation = build_lexicon()[clause.verb], [FUNCTION["not"]] if clause.denied else []
    if clause.passive:
        patient = clause.patient
        form = inflect_adjective(stem + PARTICIPLE, patient.noun, patient.plural)
        return [*negation, *BE[clause.past][patient.plural].split(), form, FUNCTION["by"]]
    plural = clause.actor.plural
    verb = [HAVE[plural], stem + PARTICIPLE] if clause.past else [stem + PRESENT[plural]]
    return [*negation, *verb]


def render_romanian(clause: Clause) -> list[str]:
    """Time, subject, verb, the other participant, place."""
    actor, patient = render_romanian_phrase(clause.actor), render_romanian_phrase(clause.patient)
    first, last = (patient, actor) if clause.passive else (actor, patient)
    place = [FUNCTION["near"], romanian.inflect_noun(clause.place, False, True)] if clause.place else []
    return [*([FUNCTION[clause.when]] if clause.when else []), *first, *render_romanian_verb(clause), *last, *place]


def render_telegram(clause: Clause, code: str) -> list[str]:
    """Actor, verb, patient, place as bare words in English order; only the number of nouns is marked."""
    words: list[str] = []
    for phrase in (clause.actor, clause.patient):
        if phrase is clause.patient:
            words += [*([NEGATION[code]] if clause.denied else []), get_stem(clause.verb, code)]
        words += [get_stem(phrase.adjective, code)] if phrase.adjective else []
        if code == "en":
            words.append(form_plural(phrase.noun) if phrase.plural else phrase.noun)
        else:
            words.append(
                romanian.inflect_noun(phrase.noun, True, False) if phrase.plural else get_stem(phrase.noun, code)
            )
    return [*words, *([get_stem(clause.place, code)] if clause.place else [])]


def get_stem(word: str, code: str) -> str:
    """The stem of a lemma."""
    return word if code == "en" else build_lexicon()[word]


def render_statement(statement: Statement, code: str, brief: bool = False) -> str:
    """The statement as text with a full stop; `brief` renders the telegram."""
    one: Callable[[Clause], list[str]] = render_english if code == "en" else render_romanian
    render = (lambda clause: render_telegram(clause, code)) if brief else one
    words = render(statement.first)
    if statement.second and statement.joiner:
        joiner = statement.joiner if code == "en" else FUNCTION[statement.joiner]
        words = [*words, joiner, *render(statement.second)]
    return " ".join(words) + "."
