"""Searches with fairseq, patched and loaded safely by the plugin."""

import torch
from fairseq import checkpoint_utils
from fairseq.dataclass.configs import GenerationConfig

import rdrop_fairseq  # noqa: F401
from rdrop_fairseq.compat.checkpoints import CheckpointError
from rdrop_tools.translation.engines import Hypothesis
from rdrop_tools.translation.folder import TranslationError, first_line


class FairseqEngine:
    """A checkpoint of fairseq's translation task."""

    def __init__(self, files, search, cpu=False, threads=0):
        self._n_best = search.n_best
        self._cuda = torch.cuda.is_available() and not cpu
        if threads:
            torch.set_num_threads(threads)
        self._network, cfg, self._task = load_checkpoint(files.path, files.data)
        if self._cuda:
            _to_gpu(self._network, files.path)
        self._network.prepare_for_inference_(cfg)
        self.source, self.target = self._task.cfg.source_lang, self._task.cfg.target_lang
        self.longest, _ = longest_sentences(self._network)
        config = GenerationConfig(
            beam=search.beam,
            nbest=search.n_best,
            lenpen=search.lenpen,
        )
        self._generator = self._task.build_generator([self._network], config)

    def translate(self, batch, limit):
        """Return the hypotheses of each sentence of a batch, of at most `limit` subwords."""
        self._generator.max_len_a, self._generator.max_len_b = 0, limit
        with torch.no_grad():
            found = self._task.inference_step(self._generator, [self._network], self._sample(batch))
        return [[self._hypothesis(h) for h in sentence[: self._n_best]] for sentence in found]

    def _sample(self, batch):
        dictionary = self._task.source_dictionary
        tokens = [
            torch.tensor([*map(dictionary.index, subwords), dictionary.eos()]) for subwords in batch
        ]
        dataset = self._task.build_dataset_for_inference(tokens, [len(t) for t in tokens])
        sample = dataset.collater([dataset[n] for n in range(len(batch))])
        # The collater sorts by length: back into the order of the batch.
        order = sample["id"].argsort()
        inputs = {
            name: value.index_select(0, order)
            for name, value in sample["net_input"].items()
            if name in ("src_tokens", "src_lengths")
        }
        if self._cuda:
            inputs = {name: value.cuda() for name, value in inputs.items()}
        return {"net_input": inputs}

    def _hypothesis(self, found):
        dictionary = self._task.target_dictionary
        tokens = [number for number in found["tokens"].tolist() if number != dictionary.eos()]
        return Hypothesis(float(found["score"]), [dictionary[number] for number in tokens])


def longest_sentences(network):
    """Return the most subwords that a source and a target may have, without their ends."""
    source, target = network.max_positions()
    return source - 1, target - 1


def _to_gpu(network, path):
    try:
        network.half().cuda()
    except RuntimeError as error:
        raise TranslationError(
            f"{path} was not put on the GPU ({first_line(error)}): give --cpu, or "
            "wait until the GPU is free."
        ) from error


def load_checkpoint(path, data):
    """Return the network in a checkpoint, its configuration and its task.

    Raises:
        TranslationError: it is cut short, hostile, not a translation model, or does not fit to its
            dictionaries.
    """
    overrides = {"data": str(data), "eval_bleu": False}
    try:
        [network], cfg, task = checkpoint_utils.load_model_ensemble_and_task(
            [str(path)], arg_overrides=overrides
        )
    except CheckpointError as error:
        raise TranslationError(str(error)) from error
    except (OSError, RuntimeError, ValueError, AssertionError, KeyError, AttributeError) as error:
        # fairseq and PyTorch have no error of their own for any of it
        raise TranslationError(
            f"{path} and the dictionaries in {data} do not make a translation model: "
            f"{type(error).__name__}: {first_line(error)}"
        ) from error
    if not hasattr(task, "target_dictionary") or not hasattr(task.cfg, "source_lang"):
        raise TranslationError(f"{path} is not a model of fairseq's task translation.")
    return network.eval(), cfg, task
