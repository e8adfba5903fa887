"""The translator: numbers in words, text, classes of weights, greedy decoding, the program."""

import gzip
import json
import re
from pathlib import Path

import keras
import numpy as np
import programs
import pytest

import kprune
from benchmarks.parts.figures import scheme_curves
from data import bilingual, number_words
from data.bilingual import Pairs, Vocabulary
from kprune._masking import filters
from networks import seq2seq
from training import translation

ROOT = Path(__file__).parent.parent
TINY = (
    *("--length=9", "--width=8", "--batch_size=200", "--epochs=1", "--retrain_epochs=1"),
    *("--verbose=0", "--sparsity=0.75"),
)


@pytest.mark.parametrize(
    ("number", "english", "german"),
    [
        (0, "zero", "null"),
        (1, "one", "eins"),
        (12, "twelve", "zwölf"),
        (16, "sixteen", "sechzehn"),
        (17, "seventeen", "siebzehn"),
        (30, "thirty", "dreißig"),
        (71, "seventy-one", "einundsiebzig"),
        (101, "one hundred one", "einhunderteins"),
        (423, "four hundred twenty-three", "vierhundertdreiundzwanzig"),
        (1000, "one thousand", "eintausend"),
        (2001, "two thousand one", "zweitausendeins"),
        (21_060, "twenty-one thousand sixty", "einundzwanzigtausendsechzig"),
        (101_666, "one hundred one thousand six hundred sixty-six", None),
        (600_300, "six hundred thousand three hundred", "sechshunderttausenddreihundert"),
    ],
)
def test_numbers_are_words(number, english, german):
    assert number_words.english(number) == english
    german = german or "einhunderteintausendsechshundertsechsundsechzig"
    assert number_words.german(number).replace(" ", "") == german


VALUES = {
    **{"null": 0, "ein": 1, "eins": 1, "zwei": 2, "zwan": 2, "drei": 3, "vier": 4, "fünf": 5},
    **{"sech": 6, "sechs": 6, "sieb": 7, "sieben": 7, "acht": 8, "neun": 9, "zehn": 10},
    **{"elf": 11, "zwölf": 12},
}


def value(word: str) -> int:
    """The number that a German word means."""
    for name, factor in (("tausend", 1000), ("hundert", 100)):
        if name in word:
            before, after = word.split(name)
            return factor * value(before) + (value(after) if after else 0)
    if word.endswith(("zig", "ßig")):
        ones, _, tens = word[:-3].rpartition("und")
        return 10 * value(tens) + (value(ones) if ones else 0)
    if word.endswith("zehn") and word != "zehn":
        return 10 + value(word[:-4])
    return VALUES[word]


def test_german_words_mean_their_number():
    numbers = [*range(1100), *range(990_000, 990_200), 999_999]
    assert [value(number_words.german(each).replace(" ", "")) for each in numbers] == numbers
    assert len({*map(number_words.english, numbers)}) == len(numbers)
    with pytest.raises(ValueError, match="expected 0 to 999,999"):
        number_words.german(1_000_000)


def test_numbers_are_in_one_split_alone():
    corpus = bilingual.numbers()
    splits = [corpus.train, corpus.validation, corpus.test]
    assert [len(each.source) for each in splits] == [4000, 500, 500]
    assert len({text for each in splits for text in each.source}) == 5000


@pytest.mark.parametrize(
    "text",
    [
        "ein mann (links) trägt ein t-shirt, und lacht!",
        "a child's red/blue ball: 3 dogs; 50% off?",
        "zwei mädchen.",
        "",
    ],
)
def test_what_is_taken_apart_is_put_together(text):
    assert bilingual.detokenise(bilingual.tokenise(text)) == text


def test_tokens_are_words_and_marks():
    assert bilingual.tokenise("Der Hund's T-Shirt, süß.") == "der hund ' s t - shirt , süß ."


def written(directory: Path, **lines: list[str]) -> str:
    """Writes every split; returns the folder."""
    for stem in bilingual.SPLITS.values():
        for language, each in lines.items():
            content = gzip.compress("".join(f"{line}\n" for line in each).encode())
            (directory / f"{stem}.{language}.gz").write_bytes(content)
    return str(directory)


def test_pairs_are_read(tmp_path):
    folder = written(tmp_path, en=["A dog.", "A big cat runs."], de=["Ein Hund.", "Ein Kätzchen."])
    corpus = bilingual.read(folder)
    assert corpus.test == Pairs(["a dog.", "a big cat runs."], ["ein hund.", "ein kätzchen."])
    assert corpus.train.short(4) == Pairs(["a dog."], ["ein hund."])


def test_files_that_do_not_fit_are_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no train.en, .*Write --data_dir="):
        bilingual.read(str(tmp_path))
    with pytest.raises(ValueError, match="2 lines and train.de has 1"):
        bilingual.read(written(tmp_path, en=["a", "b"], de=["c"]))


def test_a_vocabulary_goes_there_and_back():
    vocabulary = Vocabulary(["a dog.", "a cat."], 100)
    ids = vocabulary.encode(["a dog.", "a bird sees a cat."])
    assert ids.shape == (2, 8) and ids[0, 0] == vocabulary.start and ids[0, 4] == vocabulary.end
    assert list(ids[0, 5:]) == [0, 0, 0]
    assert vocabulary.decode(ids) == ["a dog.", "a [UNK] [UNK] a cat."]


def test_batches_hold_every_pair_once_in_every_pass():
    generator = np.random.default_rng(0)
    source = np.triu(np.tile(np.arange(1, 11, dtype=np.int32), (10, 1)))[:, ::-1].copy()
    source = np.sort(source, axis=1)[:, ::-1].copy()  # ten lengths, zeros at the end
    data = bilingual.batches(source, source[generator.permutation(10)], 3, seed=0)
    passes = [[len(words) for _, words, _ in data] for _ in range(2)]
    assert len(data) == 4 and [sum(each) for each in passes] == [10, 10]
    for (x, before), words, weight in data:
        assert np.count_nonzero(x, axis=1).max() == x.shape[1]
        np.testing.assert_array_equal(before[:, 1:], words[:, :-1])
        np.testing.assert_array_equal(weight, words > 0)


@pytest.fixture
def model():
    """A small translator of two layers, its weights large enough to make it choose."""
    model = seq2seq.build(12, 9, width=6, layers=2, dropout=0.5)
    for variable in model.trainable_variables:
        variable.assign(keras.random.normal(variable.shape, stddev=0.8))
    return model


SOURCE = np.array([[2, 5, 6, 7, 3], [2, 8, 3, 0, 0], [2, 9, 10, 3, 0]], np.int32)


def test_classes_are_complete_and_disjoint(model):
    classes = seq2seq.classes(2)
    paths = [site.path for site in filters.find_prunable(model)[0]]
    for path in paths:
        assert sum(re.search(regex, path) is not None for regex in classes.values()) == 1, path
    kprune.wrap(model, classes=classes)
    assert set(kprune.report(model).classes) == set(classes)
    assert len(paths) == len(classes) + 1 == 13  # attention has two matrices


def test_padding_changes_nothing(model):
    words = np.array([[2, 4, 5], [2, 6, 7], [2, 8, 4]], np.int32)
    longer = np.pad(SOURCE, ((0, 0), (0, 4)))
    logits = model([SOURCE, words])
    np.testing.assert_allclose(model([longer, words]), logits, atol=1e-5)
    np.testing.assert_allclose(model([SOURCE[1:2, :3], words[1:2]])[0], logits[1], atol=1e-5)


def test_greedy_decoding_is_the_models_own_choice_word_by_word(model):
    start, end, steps = 2, 3, 7
    found = seq2seq.greedy(model, start, end, steps)(SOURCE)
    for row, source in zip(found, SOURCE, strict=True):
        words = [start]
        while len(words) <= steps and words[-1] != end:
            logits = np.array(model([source[None], np.array([words], np.int32)]))[0, -1]
            logits[[0, 1, start]] = -np.inf
            words.append(int(logits.argmax()))
        assert list(row) == words[1:] + [0] * (steps + 1 - len(words))


def test_perplexity_is_a_mean_over_words():
    pairs = Pairs(["a b c", "a", "b"], ["d e", "e", "d e e d"])
    recipe = translation.Recipe(20, 9, 4, 1, 0.0, 1, 1, 2, 1e-3, 1e-3)
    task = translation.Task(bilingual.Corpus("letters", pairs, pairs, pairs), recipe, seed=0)
    model = translation.for_training(task.model(), task)
    logs = []
    for text, words in zip(pairs.source, pairs.target, strict=True):
        source, target = task.source.encode([text]), task.target.encode([words])
        logits = np.asarray(model([source, target[:, :-1]]))[0]
        each = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        logs += [each[i, word] for i, word in enumerate(target[0, 1:])]
    quality = translation.Judge(task, model)()
    assert quality.perplexity == pytest.approx(np.exp(-np.mean(logs)), rel=1e-4)
    assert quality.validation_perplexity == quality.perplexity


def test_bleu_is_of_whole_texts_in_lower_case():
    bleu, signature = translation.score(["Ein Hund läuft schnell."], ["ein hund läuft schnell."])
    assert bleu == pytest.approx(100) and "case:lc" in signature


def test_a_retraining_rate_is_halved_after_each_epoch():
    pairs = Pairs(["a"] * 5, ["b"] * 5)
    recipe = translation.Recipe(20, 9, 4, 1, 0.0, 1, 2, 2, 1e-3, 8e-4)
    task = translation.Task(bilingual.Corpus("letters", pairs, pairs, pairs), recipe, seed=0)
    model = translation.for_retraining(task.model(), task)
    for updates, rate in ((0, 8e-4), (2, 8e-4), (3, 4e-4), (5, 4e-4), (6, 2e-4)):
        model.optimizer.iterations.assign(updates)
        assert float(model.optimizer.learning_rate) == pytest.approx(rate)


@pytest.mark.slow
def test_the_program_prunes_and_a_second_run_has_nothing_to_do(tmp_path):
    program = "scripts/prune_translation.py"
    printed = programs.run(ROOT / program, f"--output_dir={tmp_path}", *TINY)
    assert "sparsity, all classes" in printed and "75.00%" in printed
    times = {each: each.stat().st_mtime_ns for each in (tmp_path / "stages").iterdir()}
    first = json.loads((tmp_path / "results.json").read_text())
    model = keras.saving.load_model(tmp_path / "pruned.keras")
    assert kprune.report(model).sparsity == pytest.approx(0.75, abs=1e-3)

    again = programs.run(ROOT / program, f"--output_dir={tmp_path}", "--resume", *TINY)
    second = json.loads((tmp_path / "results.json").read_text())
    assert {each: each.stat().st_mtime_ns for each in (tmp_path / "stages").iterdir()} == times
    assert first["report"] == second["report"]
    for name, quality in first["quality"].items():
        assert second["quality"][name] == pytest.approx(quality, rel=1e-5)
    assert again.splitlines()[:10] == printed.splitlines()[:10]


def row(scheme: str, sparsity: float, retrained: bool) -> dict:
    """A row of the study of schemes."""
    bleu = 30 - 20 * sparsity * (not retrained)
    key = {"scheme": scheme, "sparsity": sparsity, "retrained": retrained}
    return {**key, "bleu": bleu, "perplexity": 200 / bleu}


def test_the_figure_has_a_curve_for_each_scheme_and_style():
    rows = [row("dense", 0.0, after) for after in (False, True)]
    rows += [row(s, z, r) for s in scheme_curves.COLORS for z in (0.4, 0.8) for r in (False, True)]
    left, right = scheme_curves.draw("schemes", rows).axes
    for axes, name in ((left, "bleu"), (right, "perplexity")):
        curves = [line for line in axes.lines if len(line.get_xdata()) == 3]
        assert len(curves) == 6 and list(curves[0].get_xdata()) == [0, 40, 80]
        assert curves[0].get_ydata()[-1] == pytest.approx(row("", 0.8, False)[name])


@pytest.mark.slow
def test_the_study_of_schemes_is_not_run_twice(tmp_path):
    flags = f"--cache={tmp_path}", f"--json={tmp_path / 'rows.json'}", "--sparsities=0.8"
    small = *flags, "--length=9", "--width=8", "--epochs=1", "--retrain_epochs=1"
    study = "-m", "benchmarks.accuracy.pruning_schemes", *small
    printed = programs.run(*study, directory=ROOT)
    assert "class-distribution" in printed and "Sparsity of each class at 80%" in printed
    times = (tmp_path / "rows.json").stat().st_mtime_ns
    again = programs.run(*study, directory=ROOT)
    assert again.splitlines()[-20:] == printed.splitlines()[-20:]
    assert (tmp_path / "rows.json").stat().st_mtime_ns == times
