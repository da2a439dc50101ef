"""What is imported when: help and refusals need nothing heavy, and RecBole knows our models all the same."""

import os
import subprocess
import sys
from pathlib import Path

from test_imports import TOP

from recbole_irllrec import hooks

# Each takes from a quarter of a second to two of them.
HEAVY = {
    "numpy",
    "openai",
    "pandas",
    "plotly",
    "pyarrow",
    "ray",
    "recbole",
    "scipy",
    "sentence_transformers",
    "sklearn",
    "tiktoken",
    "torch",
}
# A tenth of a second each.
NOT_FOR_HELP = {"packaging", "pydantic", "yaml"}


def python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run a program in a process that has imported nothing."""
    path = os.pathsep.join([str(TOP), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": path, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


ONE_AFTER_ANOTHER = """
import contextlib, io, sys
import irllrec_commands
for line in sys.argv[1:]:
    program, *arguments = line.split()
    sys.argv = [program, *arguments]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            status = getattr(irllrec_commands, program)()
        except SystemExit as stop:  # typer's, and argparse's
            status = stop.code
    print(status or 0, *sorted({name.partition(".")[0] for name in sys.modules}), sep=",")
    print(" ".join(said.getvalue().split()))
"""


def run(*lines: str) -> list[tuple[int, set[str], str]]:
    """The exit status of commands that one process runs, the packages it has imported by then, and what they said."""
    done = python(ONE_AFTER_ANOTHER, *lines)
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    assert len(printed) == 2 * len(lines)
    found = []
    for facts, said in zip(printed[::2], printed[1::2], strict=True):
        status, *packages = facts.split(",")
        found.append((int(status), set(packages), said))
    return found


def test_help_imports_nothing_heavy():
    groups = ["", "data", "data convert", "intents", "benchmark"]
    commands = ["data split", "data describe", "intents generate", "intents embed", "intents show", "intents plot"]
    commands += [f"data convert {kind}" for kind in ("published", "amazon", "yelp", "csv")]
    commands += ["benchmark report", "study", "recommend", "export", "explore", "tune", "doctor"]
    lines = [f"irllrec {name} --help" for name in groups + commands]
    for line, (status, packages, said) in zip(lines, run(*lines), strict=True):
        assert status == 0 and "Usage: irllrec" in said, line
        assert not packages & {*HEAVY, *NOT_FOR_HELP}, line
    ((status, packages, said),) = run("run_recbole --help")
    assert status == 0 and "--key=value" in said and not packages & {*HEAVY, *NOT_FOR_HELP}


def test_a_group_imports_its_own_commands_alone():
    """In a process of its own each, as `irllrec` is."""
    for line, others in (
        ("data --help", "intents tune"),
        ("benchmark --help", "data study"),
        ("tune --help", "benchmark"),
    ):
        code = f"import sys, irllrec_commands; sys.argv = ['irllrec', *{line.split()}]; irllrec_commands.irllrec()"
        done = python(f"import atexit; atexit.register(lambda: print(*sorted(sys.modules)))\n{code}")
        assert done.returncode == 0, done.stderr
        modules = done.stdout.splitlines()[-1].split()
        assert f"recbole_irllrec.cli.{line.split()[0]}" in modules
        assert not {f"recbole_irllrec.cli.{other}" for other in others.split()} & set(modules), line


REFUSED = {
    "irllrec recommend nothing.pth --users all": "nothing.pth cannot be opened (No such file or directory)",
    "irllrec recommend here.txt --users nobody.txt": "nobody.txt: no such file or directory.",
    "irllrec recommend here.txt --users all --user u1": "Give the users once",
    "irllrec recommend here.txt --users all --out best.xlsx": "The format of best.xlsx is unknown",
    "irllrec recommend here.txt --users all --only new": "--only parts new items from known ones",
    "irllrec recommend here.txt --users all --new-items new.csv": "new.csv: no such file or directory.",
    "irllrec recommend here.txt --users all --address auto --device cuda": "A cluster computes on its CPUs",
    "irllrec export nothing.pth --out vectors": "nothing.pth cannot be opened (No such file or directory)",
    "irllrec intents plot nothing.pth": "nothing.pth cannot be opened (No such file or directory)",
    "irllrec intents show ml-100k 1 --config-files nothing.yaml": "nothing.yaml: no such file or directory.",
    "irllrec intents check ml-100k --config-files here.txt": "here.txt holds no settings in YAML",
    "irllrec intents embed ml-100k --encoder openai --address auto": "leave --address out",
    "irllrec intents import ml-100k --side item --embeddings no.npy --encoder-name e --source features": "no.npy: no",
    "irllrec data convert csv nothing.csv --name shop": "nothing.csv: no such file or directory.",
    "irllrec data convert amazon here.txt nothing.jsonl --name shop": "nothing.jsonl: no such file or directory.",
    "irllrec data convert csv here.txt --name shop --delimiter ;;": "give one ASCII character",
    "irllrec data split ml-100k --ratios 0.8,0.2": "give three shares such as 0.8,0.1,0.1",
    "irllrec data split ml-100k --ratios 0.8,0.1,0.1 --leave-one-out test_only": "give one of --ratios",
    "irllrec benchmark": "Missing argument 'DATASET'",
    "irllrec benchmark ml-100k --topk ten": "--topk is 'ten'",
    "irllrec benchmark ml-100k --variants nothing.yaml": "nothing.yaml: no such file or directory.",
    "irllrec study controlls ml-100k": "did you mean controls?",
    "irllrec study noise ml-100k --shares much": "--shares is 'much'",
    "irllrec study controls ml-100k --shares 0.1": "The study controls takes no --shares",
    "irllrec tune ml-100k --space nothing.yaml": "nothing.yaml: no such file or directory.",
    "irllrec tune ml-100k --search optunna": "optunna",
    "irllrec tune ml-100k --model IRLRec": "There is no model named 'IRLRec'; did you mean IRLLRec",
    "irllrec tune ml-100k --samples few": "Invalid value for '--samples'",
    "irllrec benchmark ml-100k --models BPR,IRLLRecNGCFF": "There is no model named 'IRLLRecNGCFF'; did you mean",
    "irllrec benchmark ml-100k --space nothing": "nothing: no such file or directory.",
    "irllrec benchmark report .": "There is no benchmark in .: give the folder of one, which holds benchmark.json.",
    "irllrec benchmark report nothing": "There is no benchmark in nothing",
    "irllrec study ablation ml-100k --models IRLRec": "There is no model named 'IRLRec'; did you mean IRLLRec",
    "irllrec tunee ml-100k": "Did you mean 'tune'?",
    "run_recbole --model=IRLRec": "There is no model named 'IRLRec'; did you mean IRLLRec",
    "run_recbole --model=IRLLRecBPRR": "There is no model named 'IRLLRecBPRR'; did you mean",
    "run_recbole --model=IRLLRec --preset=publishd": "The setting preset (on the command line) is 'publishd'",
    "run_recbole --model=L3AE --text_dim=none": "The setting text_dim (on the command line) is 'none'",
    "run_recbole --model=IRLLRec --profile_weight=-1": "The setting profile_weight (on the command line) is -1",
    "run_recbole --config_files=nothing.yaml": "nothing.yaml: no such file or directory.",
    "run_recbole --config_files=here.txt": "here.txt holds no settings in YAML",
}


def test_refusals_import_nothing_heavy():
    Path("here.txt").write_text("- here\n")
    for line, (status, packages, said) in zip(REFUSED, run(*REFUSED), strict=True):
        assert status in (1, 2) and REFUSED[line] in said, (line, said)
        assert not packages & HEAVY, line


def test_converting_needs_neither_recbole_nor_torch():
    Path("reviews.csv").write_text("user_id,item_id\n" + "".join(f"u{n % 3},i{n % 5}\n" for n in range(15)))
    ((status, packages, said),) = run("irllrec data convert csv reviews.csv --name shop")
    assert status == 0 and "Use it" in said and "pyarrow" in packages
    assert not packages & {"ray", "recbole", "sklearn", "torch"}


FIRST = """
import os, sys
import pandas, pyarrow.parquet, scipy.stats, sklearn.metrics, torch.utils.tensorboard  # what RecBole takes seconds for
for line in sys.argv[1:]:
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0, line
        continue
    sys.argv = ["test"]
    exec(line)
    from recbole.config import Config
    from recbole.utils import get_model, get_trainer
    from recbole_irllrec import compat
    model = get_model("IRLLRec")
    assert get_model is compat.get_model and model.__module__ == "recbole_irllrec.model.irllrec"
    assert get_trainer(None, "IRLLRec").__name__ == "IRLLRecTrainer"
    assert Config("IRLLRec", "untuned", config_dict={"state": "ERROR"})["profile_weight"] > 0
    assert "ray" not in sys.modules
    os._exit(0)
"""


def test_recbole_knows_our_models_whatever_is_imported_first():
    """Also where a module of ours that is called after RecBole's brings these along, and stands there by half."""
    called = {place.partition(":")[0] for places in hooks._AFTER.values() for place in places}
    done = python(
        FIRST,
        "import sys, recbole_irllrec; assert 'recbole' not in sys.modules",
        "import recbole.config, recbole.data, recbole.trainer, recbole_irllrec",
        "from recbole_irllrec import register, IRLLRec",
        *(f"import recbole_irllrec.{name}" for name in sorted(called)),
    )
    assert done.returncode == 0, done.stderr


def test_starts_bring_our_models_along_in_threads_too():
    """As a Ray worker does, which imports the module of the function that it is given."""
    code = """
import pickle, sys, threading
failed = []
threading.excepthook = failed.append
import recbole_irllrec.starts
names = ["recbole.trainer", "recbole.quick_start", "recbole_irllrec.serving", "recbole_irllrec.data.loading"]
threads = [threading.Thread(target=__import__, args=(name,)) for name in names]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not failed, failed
from recbole.quick_start import objective_function, quick_start, run_recbole
assert quick_start.run_recbole is run_recbole is recbole_irllrec.starts.run_recbole
assert pickle.loads(pickle.dumps(objective_function)) is recbole_irllrec.starts.objective_function
"""
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_a_broken_model_of_ones_own_is_one_sentence():
    Path("broken.py").write_text("import nothing_at_all\n")
    arguments = ["irllrec", "intents", "check", "ml-100k"]
    code = f"import sys, irllrec_commands; sys.argv = {arguments}; sys.exit(irllrec_commands.irllrec())"
    done = python(code, IRLLREC_MODELS="broken.py")
    assert done.stderr.startswith("irllrec: The models in broken.py, which IRLLREC_MODELS names, cannot be imported")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
