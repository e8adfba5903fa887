"""Trains a translator from English to German, prunes it by classes of weights, and retrains it.

    python scripts/prune_translation.py
    python scripts/prune_translation.py --data_dir=DIR --sparsity=0.8 --allocation=class_uniform

An LSTM encoder-decoder with attention learns numbers in words, or the captions of Multi30k. It is
pruned class-blind, class-uniform or class-distribution, and retrained at a smaller rate that is
halved after each epoch. The table has BLEU and perplexity of the dense model, of the one that was
only pruned, and of the retrained one. Text is in lower case, words and punctuation apart; what is
scored is put together again. The default for Multi30k is small enough for one core; a larger
translator: --width=512 --layers=2 --vocabulary=8000 --length=30. With --resume a run that was
stopped goes on.
"""

import dataclasses
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read when TensorFlow is imported

import keras
from absl import app, flags

import kprune
from data import bilingual
from kprune._support import tables
from networks import seq2seq
from options import checks, translation_options
from reports import results
from training import translation
from training.schedules import build_schedule
from training.stages import Stages
from training.translation import Quality

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(translation_options)  # --help shows them


def main(argv: list[str]) -> None:
    """Trains, prunes, retrains, writes, reports."""
    checks.flags_alone(argv)
    begin = time.monotonic()
    keras.utils.set_random_seed(FLAGS.seed)
    recipe = translation_options.recipe()
    try:
        corpus = bilingual.read(FLAGS.data_dir) if FLAGS.data_dir else bilingual.numbers()
        task = translation.Task(corpus, recipe, FLAGS.seed)
    except (OSError, ValueError) as error:
        raise app.UsageError(str(error)) from error
    name = f"translation-{'multi30k' if FLAGS.data_dir else 'numbers'}"
    directory = Path(FLAGS.output_dir or Path("savedmodels", name))
    stages = Stages(directory / "stages", FLAGS.resume, FLAGS.verbose)

    model = translation.for_training(task.model(), task)
    judge = translation.Judge(task, model)
    stages.fit("dense", model, task.data, recipe.epochs, shuffle=False)
    model.save(directory / "dense.keras")
    found = {"dense": judge()}
    report = prune(model, task, judge, stages, found)
    model.save(directory / "pruned.keras")
    for side, vocabulary in (("source", task.source), ("target", task.target)):
        (directory / f"{side}.txt").write_text("\n".join(vocabulary.words) + "\n")

    seconds = time.monotonic() - begin
    content = {
        "task": {"title": task.title, "recipe": dataclasses.asdict(recipe)},
        "quality": {name: dataclasses.asdict(each) for name, each in found.items()},
        "report": report.to_dict(),
        "seconds": round(seconds, 1),
    }
    results.write_results(directory / "results.json", content)
    print(table(task, found, report, seconds))
    for text in task.test.source[:3]:
        print(f"{text} -> {judge.translations([text])[0]}")
    print(f"written to {directory}")


def prune(
    model: keras.Model,
    task: translation.Task,
    judge: translation.Judge,
    stages: Stages,
    found: dict[str, Quality],
) -> kprune.Report:
    """Prunes a trained model as the flags say, retrains it, and strips it.

    Args:
        model: trained.
        task: what it translates.
        judge: of the model.
        stages: where the state of the retraining is.
        found: gets the quality of the model, pruned at once and retrained.

    Returns:
        The report of the pruned model.
    """
    classes = seq2seq.classes(task.recipe.layers)
    held = model.get_weights()
    kprune.wrap(model, classes=classes)
    report = kprune.prune(model, FLAGS.sparsity, allocation=FLAGS.allocation)
    found["pruned"] = judge()
    if epochs := task.recipe.retrain_epochs:
        kprune.strip(model).set_weights(held)
        kprune.wrap(model, classes=classes)
        translation.for_retraining(model, task)
        schedule = build_schedule(FLAGS.schedule, FLAGS.sparsity)
        pruning = kprune.callbacks.Pruning(schedule, allocation=FLAGS.allocation)
        stages.fit("retrained", model, task.data, epochs, [pruning], shuffle=False)
        report = kprune.report(model)
        found["retrained"] = judge()
    kprune.strip(model)
    return report


def table(
    task: translation.Task,
    found: dict[str, Quality],
    report: kprune.Report,
    seconds: float,
) -> str:
    """Formats the quality and the weights of the dense, the pruned and the retrained model."""
    rows = [
        ["test BLEU", *(f"{each.bleu:.2f}" for each in found.values())],
        ["test pairs word for word", *(f"{each.exact:.1%}" for each in found.values())],
        ["test perplexity", *(f"{each.perplexity:.3f}" for each in found.values())],
        ["val perplexity", *(f"{each.validation_perplexity:.3f}" for each in found.values())],
    ]
    pruned = [""] * (len(found) - 2)
    for name in seq2seq.classes(task.recipe.layers):
        rows.append([f"sparsity, {name}", "", *pruned, f"{report.classes[name]:.2%}"])
    rows.append(["sparsity, all classes", "", *pruned, f"{report.sparsity:.2%}"])
    _, signature = translation.score(task.test.target, task.test.target)
    footer = (
        f"{report.compression():.2f}x fewer parameters; {len(task.train.source):,} pairs to learn, "
        f"{len(task.test.source):,} to test\nBLEU: sacrebleu {signature}\ntime: {seconds:.0f} s"
    )
    title = f"English to German, {task.title}: {report.sparsity:.1%} pruned, {FLAGS.allocation}"
    return tables.render(title, ["", *found], rows, footer)


if __name__ == "__main__":
    app.run(main)
