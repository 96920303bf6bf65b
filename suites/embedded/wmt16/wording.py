"""A statement in English and in Romanian, and as a telegram (stems in English order) in both."""

from __future__ import annotations

from collections.abc import Callable

from suites.embedded.morphology import participle, plural_of, third
from suites.embedded.wmt16 import romanian
from suites.embedded.wmt16.clauses import Clause, Phrase, Statement
from suites.embedded.wmt16.romanian import BE, FUNCTION, HAVE, PARTICIPLE, PRESENT, THIS, agreeing, lexicon

NEGATION = {"en": "no", "ro": "nu"}


def english_phrase(phrase: Phrase) -> list[str]:
    """Determiner, adjective, noun."""
    determiner = ("these" if phrase.plural else "this") if phrase.pointed else "the"
    noun = plural_of(phrase.noun) if phrase.plural else phrase.noun
    return [determiner, *([phrase.adjective] if phrase.adjective else []), noun]


def english_verb(clause: Clause) -> list[str]:
    """The verb with its auxiliaries, in agreement with the subject."""
    plural = (clause.patient if clause.passive else clause.actor).plural
    negation = ["not"] if clause.denied else []
    if clause.passive:
        be = ("were" if plural else "was") if clause.past else "are" if plural else "is"
        return [be, *negation, participle(clause.verb), "by"]
    if clause.denied:
        return ["did" if clause.past else "do" if plural else "does", "not", clause.verb]
    return [participle(clause.verb) if clause.past else clause.verb if plural else third(clause.verb)]


def english(clause: Clause) -> list[str]:
    """Subject, verb, the other participant, place, time."""
    actor, patient = english_phrase(clause.actor), english_phrase(clause.patient)
    first, last = (patient, actor) if clause.passive else (actor, patient)
    place = ["near", "the", clause.place] if clause.place else []
    return [*first, *english_verb(clause), *last, *place, *([clause.when] if clause.when else [])]


def romanian_phrase(phrase: Phrase) -> list[str]:
    """Noun with its article as an ending, then the adjective in agreement."""
    gender = romanian.genders()[phrase.noun]
    words = [THIS[gender][phrase.plural]] if phrase.pointed else []
    words.append(romanian.noun(phrase.noun, phrase.plural, not phrase.pointed))
    adjective = phrase.adjective
    return [*words, agreeing(lexicon()[adjective], phrase.noun, phrase.plural)] if adjective else words


def romanian_verb(clause: Clause) -> list[str]:
    """The verb with its auxiliaries; the passive participle agrees with the patient."""
    stem, negation = lexicon()[clause.verb], [FUNCTION["not"]] if clause.denied else []
    if clause.passive:
        patient = clause.patient
        form = agreeing(stem + PARTICIPLE, patient.noun, patient.plural)
        return [*negation, *BE[clause.past][patient.plural].split(), form, FUNCTION["by"]]
    plural = clause.actor.plural
    verb = [HAVE[plural], stem + PARTICIPLE] if clause.past else [stem + PRESENT[plural]]
    return [*negation, *verb]


def in_romanian(clause: Clause) -> list[str]:
    """Time, subject, verb, the other participant, place."""
    actor, patient = romanian_phrase(clause.actor), romanian_phrase(clause.patient)
    first, last = (patient, actor) if clause.passive else (actor, patient)
    place = [FUNCTION["near"], romanian.noun(clause.place, False, True)] if clause.place else []
    return [*([FUNCTION[clause.when]] if clause.when else []), *first, *romanian_verb(clause), *last, *place]


def telegram(clause: Clause, code: str) -> list[str]:
    """Actor, verb, patient, place as bare words in English order; only the number of nouns is marked."""
    words: list[str] = []
    for phrase in (clause.actor, clause.patient):
        if phrase is clause.patient:
            words += [*([NEGATION[code]] if clause.denied else []), bare(clause.verb, code)]
        words += [bare(phrase.adjective, code)] if phrase.adjective else []
        if code == "en":
            words.append(plural_of(phrase.noun) if phrase.plural else phrase.noun)
        else:
            words.append(romanian.noun(phrase.noun, True, False) if phrase.plural else bare(phrase.noun, code))
    return [*words, *([bare(clause.place, code)] if clause.place else [])]


def bare(word: str, code: str) -> str:
    """The stem of a lemma."""
    return word if code == "en" else lexicon()[word]


def worded(statement: Statement, code: str, brief: bool = False) -> str:
    """The statement as text with its full stop."""
    one: Callable[[Clause], list[str]] = english if code == "en" else in_romanian
    render = (lambda clause: telegram(clause, code)) if brief else one
    words = render(statement.first)
    if statement.second and statement.joiner:
        joiner = statement.joiner if code == "en" else FUNCTION[statement.joiner]
        words = [*words, joiner, *render(statement.second)]
    return " ".join(words) + "."
