"""Package metadata; the build backend and the settings of the tools are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

# fairseq is archived: 0.12.2 is its last release and does not import on Python 3.11 and newer.
# ve-fairseq and fairseq-fixed carry its later main branch under the same import name; the first is
# prebuilt but only where PREBUILT holds, the second compiles.
PREBUILT = (
    'python_version >= "3.11" and python_version < "3.13" '
    'and sys_platform == "linux" and platform_machine == "x86_64"'
)
COMPILED = (
    'python_version >= "3.13" or (python_version >= "3.11" '
    'and (sys_platform != "linux" or platform_machine != "x86_64"))'
)
FAIRSEQ = [
    'fairseq==0.12.2; python_version < "3.11"',
    f"ve-fairseq==0.12.3; {PREBUILT}",
    f"fairseq-fixed==0.12.3.1; {COMPILED}",
]
CORPUS = ["sacremoses>=0.1", "subword-nmt", "tqdm"]  # 0.1: the first with perl_parity
TENSORBOARD = ["tensorboardX"]
PLOTS = ["matplotlib>=3.5"]  # the first with layout="constrained"
DEVELOPMENT = ["hypothesis", "pytest", "pytest-xdist", "ruff"]

setup(
    name="rdrop_fairseq",
    version="0.1.0",
    description="R-Drop (Regularized Dropout, NeurIPS 2021) as a fairseq plugin",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="the rdrop_fairseq authors",
    license="MIT",
    packages=find_packages(include=["rdrop_fairseq*", "rdrop_tools*"]),
    package_dir={"": "."},  # so that an editable install puts the checkout itself on Python's path
    # 3.9: the oldest that PyTorch 2.8 serves. 3.14: no fairseq was tried on it.
    python_requires=">=3.9,<3.14",
    install_requires=[
        *FAIRSEQ,
        "torch>=2.0",  # the patches in compat/ were written for PyTorch 2
        "sacrebleu>=2.0",  # the first with paired significance tests
        "sentencepiece",
    ],
    extras_require={
        "corpus": CORPUS,
        "plots": PLOTS,
        "tensorboard": TENSORBOARD,
        "dev": [*CORPUS, *PLOTS, *TENSORBOARD, *DEVELOPMENT],
    },
    entry_points={"console_scripts": ["rdrop-fairseq = rdrop_fairseq.__main__:main"]},
)
