"""The model card of an exported model: what it is, from what it was made and how good it is."""

import re

# In what evaluate.sh prints, and the quickstart
SEARCH = re.compile(r"beam (\d+),? (?:length penalty|--lenpen) (-?[\d.]+(?:e-?\d+)?)\b")


def model_card(content, network, scores):
    """Return the card as Markdown.

    Args:
        content: the manifest of the exported folder.
        network: the fairseq model.
        scores: {file: what was printed about this checkpoint}.
    """
    stage = content["ctranslate2"]
    languages = f"{stage['source']}-{stage['target']}"
    millions = sum(p.numel() for p in network.parameters()) / 1e6
    parts = [
        f"# {languages} translation model\n",
        f"It translates {stage['source']} to {stage['target']}: {millions:.1f} million parameters, "
        f"trained with fairseq and the plugin rdrop_fairseq, exported for CTranslate2 as "
        f"{stage['quantization']}. In a checkout of rdrop_fairseq:\n",
        *_command(scores),
        "## Data\n",
        *_data(content),
        "## Training\n",
        _two_columns({**stage["training"], "checkpoint": stage["checkpoint"]["file"]}),
        "## Scores\n",
        *_scores(scores, stage["quantization"]),
        "## Versions\n",
        "Of the preparation of the text, where it was noted, and of the export:\n",
        _two_columns({**_versions(content), **stage["versions"]}),
    ]
    return "\n".join(parts)


def _command(scores):
    """Yield the command that translates as for the first of the scores that says how."""
    searches = {name: found for name, text in scores.items() if (found := SEARCH.search(text))}
    name, search = next(iter(searches.items()), ("", None))
    options = f" --beam {search[1]} --lenpen {search[2]}" if search else ""
    yield f"```bash\nbash scripts/translate.sh THIS_FOLDER{options} < text\n```\n"
    if search:
        yield f"The scores in {name} below were measured with this beam and length penalty.\n"


def _data(content):
    unknown = "not noted when the text was prepared"
    description, licence = (content.get(key) or unknown for key in ("description", "licence"))
    yield f"Text: {description}. Licence: {licence}.\n"
    corpus = content.get("corpus")
    if corpus:
        switches = {k: v for k, v in corpus["settings"].items() if v not in (None, False)}
        yield "Tokenized as Moses does, with these settings:\n"
        yield _two_columns(switches)
    subwords = content["subwords"]
    size = subwords["settings"].get("size")  # none where a model was given
    yield f"Subwords: {subwords['settings']['method']}{f', size {size}' if size else ''}.\n"
    pairs = subwords.get("pairs", {})
    yield _two_columns({f"{name} pairs": counts["kept"] for name, counts in pairs.items()})


def _scores(scores, quantization):
    if not scores:
        yield "Not measured before the export.\n"
    elif quantization != "float32":
        yield (
            f"Of the model before its quantization: it was not measured as {quantization}. fairseq "
            "translated, or CTranslate2 in float32 where the name of the file says so.\n"
        )
    for name, text in scores.items():
        yield f"{name}:\n\n```\n{text.strip()}\n```\n"


def _versions(content):
    stages = (content.get(stage, {}).get("versions", {}) for stage in ("corpus", "subwords"))
    return {name: version for versions in stages for name, version in versions.items()}


def _two_columns(rows):
    lines = ["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())]
    return "\n".join(lines) + "\n"
