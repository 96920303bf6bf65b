"""Subword tokenizer of the language pair: pieces are stems and endings, and decoding restores the exact text."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from scripts.embedded.wmt16 import romanian
from scripts.embedded.wmt16.wording import NEGATION
from suites.embedded.morphology import form_participle, form_plural, form_third_person

SPECIAL = ("<pad>", "</s>", "<unk>", "<mask>")
ENGLISH_ENDINGS = ("s", "es", "d", "ed")
ENGLISH_WORDS = "the this these is are was were do does did not no by near and but because yesterday today always now"
# Words of T5's task prefix, which the pretraining text also has.
PREFIX_WORDS = "translate English Romanian to"
LETTERS = "abcdefghijklmnopqrstuvwxyzăâîșț"
# Log scores: a text is split into known pieces where possible, else into letters.
PIECE, LETTER = -8.0, -14.0


def list_english_pieces() -> list[str]:
    """Lemmas, and forms that are not a lemma plus a regular ending."""
    nouns, adjectives, verbs = romanian.list_lemmas()
    forms = [(word, form_plural(word)) for word in nouns]
    forms += [(word, form) for word in verbs for form in (form_third_person(word), form_participle(word))]
    odd = [form for word, form in forms if form.removeprefix(word) not in ENGLISH_ENDINGS]
    return [*ENGLISH_WORDS.split(), *PREFIX_WORDS.split(), *nouns, *adjectives, *verbs, *odd]


def list_romanian_pieces() -> list[str]:
    """Stems and function words."""
    words = [*romanian.FUNCTION.values(), *romanian.build_lexicon().values(), *romanian.HAVE, NEGATION["ro"]]
    words += [word for pair in romanian.THIS.values() for word in pair]
    return words + [part for pair in romanian.BE.values() for form in pair for part in form.split()]


def list_endings() -> list[str]:
    """Endings and marks that may follow a stem."""
    tables = (romanian.BARE, romanian.DEFINITE, romanian.AGREEMENT)
    table_endings = [ending for table in tables for pair in table.values() for ending in pair if ending]
    return [*table_endings, *romanian.PRESENT, romanian.PARTICIPLE, *ENGLISH_ENDINGS, ".", ":", ","]


def list_pieces() -> list[tuple[str, float]]:
    """The vocabulary in the order of its ids, with log scores that make few long pieces win."""
    whole = dict.fromkeys(
        ["▁" + word for word in (*list_english_pieces(), *list_romanian_pieces())] + list_endings(), PIECE
    )
    letters = {piece: LETTER for piece in ("▁", *LETTERS) if piece not in whole}
    return [*((name, 0.0) for name in SPECIAL), *whole.items(), *letters.items()]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Fast tokenizer; cedilla letters are read as comma letters, `</s>` ends a text."""
    core = Tokenizer(models.Unigram(list_pieces(), unk_id=2))
    # Older Romanian text writes ş and ţ with a cedilla; the model must not see two spellings.
    core.normalizer = normalizers.Sequence([normalizers.Replace(old, new) for old, new in zip("şţ", "șț", strict=True)])
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    core.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        model_max_length=128,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def save_tokenizer(folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json."""
    build_tokenizer().save_pretrained(str(folder))
