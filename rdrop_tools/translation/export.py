"""Export a trained model for CTranslate2, with all that is needed to translate raw text.

The folder has the model, its vocabulary, the subword model, the manifest of its text and a model
card. It is complete or not there.
"""

import argparse
import logging
import shutil
import sys
from pathlib import Path

from rdrop_tools import manifest
from rdrop_tools.atomic import atomic_folder
from rdrop_tools.checksums import checksum
from rdrop_tools.extras import MissingPackage, load
from rdrop_tools.translation.card import model_card
from rdrop_tools.translation.folder import TranslationError, find_model

QUANTIZATIONS = (
    *("int8", "int8_float32", "int8_float16", "int8_bfloat16"),
    *("int16", "float16", "bfloat16", "float32"),
)


def export(run, out, checkpoint=None, quantization="float32"):
    """Write the model of a run into the new folder `out`.

    Raises:
        MissingPackage: CTranslate2 is not installed.
        TranslationError: the run lacks something, its checkpoint is damaged or hostile, or
            CTranslate2 does not have such a model.
        FileExistsError: `out` exists.
    """
    load("ctranslate2")
    # fairseq takes seconds
    from rdrop_tools.runs.checkpoint import read_checkpoint, updates_of
    from rdrop_tools.translation.engines.fairseq import load_checkpoint, longest_sentences

    files = find_model(run, checkpoint)
    if files.engine != "fairseq":
        raise TranslationError(f"{run} is an exported model already: name the folder of a run.")
    with atomic_folder(out) as folder:
        # refuses what is damaged or hostile
        network, cfg, task = load_checkpoint(files.path, files.data)
        _convert(files, folder, quantization, network, task)
        shutil.copyfile(files.subword_model, folder / files.subword_model.name)
        longest_source, longest_target = longest_sentences(network)
        stage = {
            "source": task.cfg.source_lang,
            "target": task.cfg.target_lang,
            "longest_source": longest_source,
            "longest_target": longest_target,
            "quantization": quantization,
            "checkpoint": {"file": files.path.name, "sha256": checksum(files.path)},
            "training": {"updates": updates_of(read_checkpoint(files.path)), **_training(cfg)},
            "versions": {
                **manifest.versions("ctranslate2", "rdrop_fairseq", "torch"),
                "fairseq": manifest.fairseq(),
            },
            "files": {path.name: checksum(path) for path in sorted(folder.iterdir())},
        }
        content = {**files.manifest, "ctranslate2": stage}
        manifest.write(folder, content)
        card = model_card(content, network, _scores(files.path))
        (folder / "README.md").write_text(card, encoding="utf-8")


def _convert(files, folder, quantization, network, task):
    """Write what CTranslate2 reads, once its scores are known to be those of fairseq."""
    from rdrop_tools.translation.parity import refuse_other_scores

    languages = {"source_lang": task.cfg.source_lang, "target_lang": task.cfg.target_lang}
    FairseqConverter = load("ctranslate2.converters").FairseqConverter
    converter = FairseqConverter(str(files.path), str(files.data), **languages)
    try:
        converter.convert(str(folder), quantization="float32", force=True)
        refuse_other_scores(folder, network, task)
        if quantization != "float32":
            converter.convert(str(folder), quantization=quantization, force=True)
    except (ValueError, AttributeError, KeyError, RuntimeError) as error:
        # of what it does not know CTranslate2 says some, and stumbles over the rest
        reason = " ".join(str(error).split())
        raise TranslationError(
            f"CTranslate2 cannot run this model: {reason}. Translate with scripts/translate.sh RUN."
        ) from error


def _training(cfg):
    """Return the settings of the training that the model card shows."""
    wanted = {
        "model": ("arch", "dropout"),
        "criterion": ("_name", "label_smoothing", "reg_alpha"),
        "dataset": ("max_tokens",),
        "optimization": ("lr", "update_freq", "clip_norm"),
        "lr_scheduler": ("_name", "warmup_updates", "total_num_update"),
        "common": ("seed", "fp16"),
    }
    return {
        part if name == "_name" else name: str(value)
        for part, names in wanted.items()
        for name in names
        if (value := getattr(getattr(cfg, part), name, None)) is not None
    }


def _scores(checkpoint):
    """Return what evaluate.sh or the quickstart printed about a checkpoint: {file: text}.

    Files older than the checkpoint are left out: they are about the one before it.
    """
    name = checkpoint.stem.removeprefix("checkpoint_")
    made = checkpoint.stat().st_mtime_ns
    return {
        path.name: path.read_text("utf-8")
        for path in sorted(checkpoint.parent.glob("generate*.scores"))
        if (path.name == "generate.scores" or f"-{name}-" in path.name)
        and path.stat().st_mtime_ns >= made
    }


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the training")
    parser.add_argument("--out", type=Path, required=True, help="new folder for the model")
    parser.add_argument(
        "--quantization", choices=QUANTIZATIONS, default="float32", help="(%(default)s)"
    )
    parser.add_argument(
        "--checkpoint", metavar="FILE", help="a file of RUN, in place of the best checkpoint"
    )
    args = parser.parse_args(argv)
    logging.disable(logging.INFO)  # fairseq's
    try:
        export(args.run, args.out, args.checkpoint, args.quantization)
    except (TranslationError, MissingPackage, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")
    print(f"{args.quantization} model in {args.out}; {args.out / 'README.md'} describes it")
