"""Package metadata; the build backend and the settings of the tools are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
SYSTEMS = {  # of fairseq-versions.txt, as an environment marker
    "any": "",
    "Linux-x86_64": ' and sys_platform == "linux" and platform_machine == "x86_64"',
    "other": ' and (sys_platform != "linux" or platform_machine != "x86_64")',
}
ROWS = [
    line.split()
    for line in (HERE / "fairseq-versions.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
FAIRSEQ = [
    f'{fairseq}; python_version == "{python}"{SYSTEMS[system]}'
    for python, system, fairseq, _ in ROWS
]
OLDEST, NEWEST = ROWS[0][0], ROWS[-1][0]
NEXT_MINOR = int(NEWEST.split(".")[1]) + 1
CORPUS = ["sacremoses>=0.1", "subword-nmt", "tqdm"]  # 0.1: the first with perl_parity
CTRANSLATE2 = [*CORPUS, "ctranslate2>=4.8"]  # older ones were not tried
TENSORBOARD = ["tensorboardX"]
IMAGES = ["scikit-learn"]  # its digits
PLOTS = ["matplotlib>=3.5"]  # the first with layout="constrained"
TRITON = ["triton>=3.0"]  # PyTorch for CUDA brings it; about 1 GB
ROUGE = ["rouge-score"]
DEVELOPMENT = ["hypothesis", "pytest", "pytest-xdist", "ruff"]

setup(
    name="rdrop_fairseq",
    version="0.1.0",
    description="R-Drop (Regularized Dropout, NeurIPS 2021) as a fairseq plugin",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="the rdrop_fairseq authors",
    license="MIT",
    packages=find_packages(include=["rdrop_fairseq*", "rdrop_tools*"]),
    package_dir={"": "."},  # so that an editable install puts the checkout itself on Python's path
    python_requires=f">={OLDEST},<3.{NEXT_MINOR}",
    install_requires=[
        *FAIRSEQ,
        "torch>=2.0",  # the patches in compat/ were written for PyTorch 2
        "sacrebleu>=2.0",  # the first with paired significance tests
        "sentencepiece",
    ],
    extras_require={
        "corpus": CORPUS,
        "ctranslate2": CTRANSLATE2,
        "images": IMAGES,
        "plots": PLOTS,
        "rouge": ROUGE,
        "tensorboard": TENSORBOARD,
        "triton": TRITON,
        "dev": [*CTRANSLATE2, *IMAGES, *PLOTS, *ROUGE, *TENSORBOARD, *DEVELOPMENT],
    },
)
