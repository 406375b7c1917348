"""Whether an exported model is the model that was trained: both have to give the same scores.

CTranslate2 does not know every option of fairseq, and of some that it does not know it says
nothing.
"""

import random

import torch
from ctranslate2 import Translator

from rdrop_tools.translation.folder import TranslationError

TOLERANCE = 1e-3  # of a token's log probability, in float32
SENTENCES, LONGEST = 8, 20


def refuse_other_scores(folder, network, task):
    """Raise TranslationError unless a float32 export in `folder` scores as the fairseq model does.

    The sentences are random: for a comparison they need no meaning.
    """
    chance = random.Random(1)
    dictionaries = (task.source_dictionary, task.target_dictionary)
    pairs = [[_sentence(d, chance) for d in dictionaries] for _ in range(SENTENCES)]
    exported = Translator(str(folder), device="cpu", compute_type="float32")
    words = [[[d[n] for n in side] for d, side in zip(dictionaries, pair)] for pair in pairs]
    found = exported.score_batch(*map(list, zip(*words)))
    for pair, scored in zip(pairs, found):
        expected = _log_probabilities(network, *pair, task.target_dictionary.eos())
        difference = (torch.tensor(scored.log_probs) - expected).abs().max().item()
        if not difference <= TOLERANCE:
            raise TranslationError(
                "CTranslate2 cannot run this model: its log probabilities differ by up to "
                f"{difference:.2g} from those of fairseq. Translate with scripts/translate.sh RUN."
            )


def _sentence(dictionary, chance):
    return chance.choices(range(dictionary.nspecial, len(dictionary)), k=chance.randint(1, LONGEST))


@torch.no_grad()
def _log_probabilities(network, source, target, eos):
    """Return the log probability of each token of a target, its end included."""
    source = torch.tensor([[*source, eos]])
    target = torch.tensor([[*target, eos]])
    output = network(source, torch.tensor([source.size(1)]), target.roll(1))
    log_probabilities = network.get_normalized_probs(output, log_probs=True)
    return log_probabilities.gather(2, target.unsqueeze(2)).flatten()
