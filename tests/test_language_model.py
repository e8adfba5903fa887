"""Language models: their text, their loss and perplexity, their equal sizes, the program."""

import gzip
import json
import lzma
import math
from pathlib import Path

import keras
import numpy as np
import programs
import pytest
from scipy import special

import kprune
from benchmarks.parts.figures import size_curves
from benchmarks.parts.networks import equal_sizes
from data import corpus
from networks import lstm_language_model as language_model

ROOT = Path(__file__).parent.parent
PROGRAM = ROOT / "scripts" / "prune_language_model.py"
STUDY = "benchmarks.accuracy.large_sparse"
PENN_TREEBANK = ROOT.parent / "shared" / "data" / "ptb"
TEXT = {
    "train": "the cat sat on the mat\nthe dog sat\nthe cat saw <unk>\n" * 20,
    "valid": "the dog saw the cat\n" * 5,
    "test": "the cat saw a dog\nthe bird sat\n" * 3,
}


def write(directory: Path, kinds=("", ".gz", ".xz")) -> Path:
    """Writes the text with a suffix for each part."""
    compress = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}
    for (split, content), kind in zip(TEXT.items(), kinds, strict=True):
        (directory / f"ptb.{split}.txt{kind}").write_bytes(compress[kind](content.encode()))
    return directory


@pytest.mark.parametrize("kinds", [("", "", ""), ("", ".gz", ".xz"), (".xz", "", ".gz")])
def test_text_is_read_plain_or_compressed(tmp_path, kinds):
    text = corpus.load(str(write(tmp_path, kinds)))
    for split, content in TEXT.items():
        words = content.replace("\n", " <eos> ").split()
        known = [word if word in text.vocabulary else "<unk>" for word in words]
        assert [text.vocabulary[number] for number in getattr(text, split)] == known


def test_words_are_numbered_by_frequency(tmp_path):
    text = corpus.load(str(write(tmp_path)))
    counts = np.bincount(text.train, minlength=len(text.vocabulary))
    assert text.vocabulary[0] == "<unk>"
    assert (np.diff(counts[1:]) <= 0).all()
    assert text.vocabulary[text.end] == "<eos>"
    assert "bird" not in text.vocabulary


def test_a_missing_part_is_named(tmp_path):
    write(tmp_path)
    (tmp_path / "ptb.test.txt.xz").unlink()
    with pytest.raises(FileNotFoundError, match=r"ptb\.test\.txt.*--data_dir=DIR"):
        corpus.load(str(tmp_path))


def test_the_bundled_text_is_enough_to_learn_from():
    text = corpus.load(None)
    assert len(text.train) > 5000 < 10 * len(text.valid) and len(text.test) > 500
    assert np.mean(text.test == 0) < 0.25, "too many unknown words"


@pytest.mark.skipif(not PENN_TREEBANK.exists(), reason=f"no data in {PENN_TREEBANK}")
def test_penn_treebank_has_its_known_sizes():
    text = corpus.load(str(PENN_TREEBANK))
    assert [len(text.train), len(text.valid), len(text.test)] == [929_589, 73_760, 82_430]
    assert len(text.vocabulary) == 10_000


@pytest.mark.parametrize("size", [1, 7, 12, 24, 25, 101])
@pytest.mark.parametrize(("streams", "steps"), [(1, 5), (3, 4), (4, 1), (8, 10)])
def test_every_token_is_a_target_once_after_the_token_before_it(size, streams, steps):
    tokens = np.arange(100, 100 + size)
    data = corpus.windows(tokens, 99, streams, steps)
    assert data.inputs.shape == data.targets.shape and data.inputs.shape[1:] == (streams, steps)
    rows = data.targets.swapaxes(0, 1).reshape(streams, -1)  # each stream from begin to end
    assert rows[rows != corpus.PAD].tolist() == tokens.tolist()
    for row in rows:  # padding is at the end of a stream: states never pass over it
        assert (np.diff((row != corpus.PAD).astype(int)) <= 0).all()
    counted = data.targets != corpus.PAD
    assert (data.inputs[counted] == data.targets[counted] - 1).all()
    assert data.tokens == size


def test_perplexity_is_that_of_whole_streams():
    """States go from window to window: no difference whether streams are cut."""
    tokens = np.random.default_rng(0).integers(0, 11, 58)
    model = language_model.build(11, 6, streams=4)
    whole = language_model.build(11, 6)
    whole.set_weights(model.get_weights())
    # [streams, length] with two tokens of padding at the end of the last
    targets = np.pad(tokens, (0, 2)).reshape(4, 15)
    inputs = np.pad(np.concatenate([[3], tokens[:-1]]), (0, 2)).reshape(4, 15)
    log_p = special.log_softmax(np.asarray(whole(inputs), np.float64), axis=-1)
    each = np.take_along_axis(log_p, targets[..., None], axis=-1).reshape(-1)[:58]
    for steps in (4, 15):
        for _ in range(2):  # nothing is left of the states of the first time
            found = language_model.perplexity(model, corpus.windows(tokens, 3, 4, steps))
            assert found == pytest.approx(math.exp(-each.mean()), rel=1e-5)


@pytest.mark.parametrize(("sampled", "near"), [(0, 1e-5), (11, 0.05)])
def test_loss_is_the_mean_cross_entropy_of_what_counts(sampled, near):
    model = language_model.build(11, 6, streams=2)
    objective = language_model.objective(model, sampled)
    inputs, targets = np.random.default_rng(0).integers(0, 11, (2, 2, 9)).astype(np.int32)
    targets[:, 7:] = corpus.PAD
    log_p = special.log_softmax(np.asarray(model(inputs), np.float64), axis=-1)[:, :7]
    expected = -np.take_along_axis(log_p, targets[:, :7, None], axis=-1).mean()
    language_model.forget_states(model)
    objective([inputs, targets])
    assert float(objective.losses[0]) == pytest.approx(expected, rel=near)


def test_training_starts_from_the_frequencies_of_the_words():
    tokens = np.repeat([0, 1, 2], [6, 3, 1])
    model = language_model.build(4, 5, streams=1)
    language_model.initialize_bias(model, tokens)
    p = np.exp(np.asarray(model.get_layer("output").bias))
    assert p == pytest.approx(np.array([7, 4, 2, 1]) / 14)


def test_the_objective_shares_all_variables():
    model = language_model.build(11, 6, streams=2)
    objective = language_model.objective(model)
    own = {id(each) for each in model.trainable_variables}
    assert {id(each) for each in objective.trainable_variables} == own
    kprune.prune(objective, 0.5, "random")
    kprune.strip(objective)
    assert kprune.report(model).sparsity == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("allocation", ["class_blind", "class_uniform", "erk"])
def test_a_wide_model_is_pruned_to_the_size_of_a_narrow_one(allocation):
    narrow, wide = language_model.build(50, 7), language_model.build(50, 20)
    target = equal_sizes.parameters(50, 7)
    assert narrow.count_params() == target
    assert wide.count_params() == equal_sizes.parameters(50, 20)
    kprune.wrap(wide, classes="weight")
    kprune.prune(wide, equal_sizes.sparsity(wide, target), allocation=allocation)
    kprune.strip(wide)
    trained = (each for each in wide.trainable_variables if not each.path.endswith("bias"))
    left = sum(np.count_nonzero(each) for each in trained)
    biases = 50 + 2 * 4 * 20
    assert left + biases == target


def test_a_size_that_no_sparsity_gives_is_refused():
    model = kprune.wrap(language_model.build(50, 20))
    for target in (50 + 2 * 4 * 20, model.count_params() + 1):
        with pytest.raises(ValueError, match=f"target={target}; expected .* Write target="):
            equal_sizes.sparsity(model, target)


def test_the_figure_names_widths_and_zeros():
    sizes = {(w, s): equal_sizes.parameters(50, s) for w, s in [(8, 8), (16, 16), (16, 8)]}
    rows = [
        {"width": width, "size_of": of, "left": left, "test": 90 - width - of}
        | {"parameters": equal_sizes.parameters(50, width)}
        for (width, of), left in sizes.items()
    ]
    axes = size_curves.draw("sizes", rows).axes[0]
    zeros = f"{1 - sizes[16, 8] / sizes[16, 16]:.0%} zeros"
    assert {each.get_text() for each in axes.texts} == {"width 8", "width 16", zeros}
    assert [each.get_text() for each in axes.get_legend().get_texts()] == [
        "dense",
        "width 16, pruned",
    ]


@pytest.mark.slow
def test_the_program_trains_prunes_and_goes_on(tmp_path):
    tiny = (
        f"--data_dir={write(tmp_path)}",
        "--output_dir=out",
        "--epochs=1",
        "--layers=1",
        "--width=5",
        "--batch_size=3",
        "--steps=6",
        "--sampled_words=4",
        "--sparsity=0.6",
    )
    programs.run(PROGRAM, *tiny, "--retrain_epochs=0", directory=tmp_path)
    first = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [(row["model"], row["epochs"]) for row in first["rows"]] == [("dense", 1), ("pruned", 1)]

    # The dense model is read, and two copies of it are trained on.
    page = programs.run(PROGRAM, *tiny, "--retrain_epochs=1", "--resume", directory=tmp_path)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    rows = {row["model"]: row for row in results["rows"]}
    assert {name: row["epochs"] for name, row in rows.items()} == {
        "dense": 1,
        "trained on": 2,
        "pruned": 2,
    }
    assert rows["dense"]["test"] == pytest.approx(first["rows"][0]["test"], rel=1e-6)
    assert "60.0% of the weights pruned" in page and f"{rows['pruned']['test']:.2f}" in page
    assert len(results["report"]["classes"]) == 4  # an LSTM's two kernels are two classes

    plain = keras.saving.load_model(tmp_path / "out" / "pruned.keras")
    assert kprune.report(plain).kept == results["report"]["kept"]
    text = corpus.load(str(tmp_path))
    one = language_model.build(len(text.vocabulary), 5, 1, streams=3)
    one.set_weights([each.numpy() for each in plain.trainable_variables])
    found = language_model.perplexity(one, corpus.windows(text.test, text.end, 3, 6))
    assert found == pytest.approx(rows["pruned"]["test"], rel=1e-5)


@pytest.mark.slow
def test_the_study_computes_each_row_once(tmp_path):
    tiny = (
        f"--data_dir={write(tmp_path)}",
        "--widths=3,6",
        "--epochs=1",
        "--streams=2",
        "--steps=6",
        "--sampled_words=4",
        "--learning_rate=0.01",
        "--allocation=class_uniform",
        f"--cache={tmp_path / 'cache'}",
        f"--json={tmp_path / 'rows.json'}",
        f"--figure={tmp_path / 'sizes.png'}",
    )
    settings = {"text": "Penn Treebank", "epochs": 1, "streams": 2, "steps": 6, "dropout": 0.0}
    settings |= {
        "learning_rate": 0.01,
        "sampled_words": 4,
        "allocation": "class_uniform",
        "seed": 0,
    }
    words = len(corpus.load(str(tmp_path)).vocabulary)
    sizes = {width: equal_sizes.parameters(words, width) for width in (3, 6)}
    known = [
        {**settings, "width": width, "size_of": width, "parameters": size, "left": size, "zeros": 0}
        | {"valid": 12.34, "test": 23.45, "seconds": 1}
        for width, size in sizes.items()
    ]
    (tmp_path / "rows.json").write_text(json.dumps({"rows": known}))
    page = programs.run("-m", STUDY, *tiny, directory=ROOT)
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert rows[:2] == known and page.count("23.4") == 2
    assert [(row["width"], row["size_of"]) for row in rows] == [(3, 3), (6, 6), (6, 3)]
    assert rows[2]["left"] == sizes[3] and rows[2]["parameters"] == sizes[6]
    assert f"{rows[2]['test']:.1f}" in page
    assert (tmp_path / "sizes.png").stat().st_size > 10_000
